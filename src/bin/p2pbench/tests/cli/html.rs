//! `run --format html`: a page that stands alone, and cannot be misread.

use crate::program::p2pbench;

const RUN: &str = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --format html";

fn page(options: &str) -> String {
    let outcome = p2pbench(&format!("{RUN} {options}"));
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    outcome.stdout
}

/// The pieces from one text to another.
fn between<'a>(page: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    page.split(from).skip(1).filter_map(|rest| Some(rest.split_once(to)?.0)).collect()
}

#[test]
fn a_page_takes_nothing_from_a_network_and_closes_what_it_opens() {
    let page = page("--path direct,bounce,page_cache --block 4k,64k --size 256k");
    for outside in ["http", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(outside), "{outside}");
    }
    for element in ["html", "body", "table", "tr", "td", "svg", "g", "text", "title", "div", "dl"] {
        let opened = page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
    assert!(page.contains("<dd>6.12.0-mock</dd>") && !page.contains("NaN"), "{page}");
}

#[test]
fn the_page_every_row_and_every_plot_say_mock() {
    let page = page("--block 4k,64k --size 256k");
    assert!(page.contains("<title>MOCK: ") && page.contains("class=\"banner\">MOCK: "));
    let plots = between(&page, "<svg", "</svg>");
    assert_eq!(plots.len(), 4, "throughput, latency, and a distribution for each block size");
    assert!(plots.iter().all(|plot| plot.contains(">MOCK: no hardware<") && plot.contains(">MOCK  ")));
    let rows = between(&page, "<tbody>", "</tbody>")[0];
    assert_eq!((rows.matches("<tr>").count(), rows.matches(">MOCK: direct</td>").count()), (2, 2), "{rows}");
}

#[test]
fn what_bounced_says_so_in_its_row_its_legend_and_its_marks() {
    let page = page("--path direct,bounce --size 1M");
    let rows = between(&page, "<tr><td", "</tr>");
    for column in
        ["p90 us", "p99.9 us", "max us", "IOPS", "user s/GB", "system s/GB", "submit us", "bytes bounced", "evidence"]
    {
        assert_eq!(page.matches(&format!(">{column}</th>")).count(), 1, "{column}");
    }
    assert!(rows[0].contains("all direct (witnessed)") && !rows[0].contains("BOUNCED"), "{rows:?}");
    assert!(rows[1].contains("BOUNCED: all through host memory") && rows[1].contains(">MOCK: BOUNCED<"), "{rows:?}");
    for plot in between(&page, "<svg", "</svg>") {
        assert!(plot.contains(">bounce (BOUNCED)<") && plot.contains(">direct<"), "{plot}");
        let lines = between(plot, "<g class=\"bounce dash", "<polyline");
        assert!(!lines.is_empty() && plot.contains("class=\"hollow\""), "{plot}");
        let direct: Vec<&str> = between(plot, "<g class=\"direct dash", "<g class=\"bounce");
        assert!(direct.iter().all(|line| !line.contains("hollow")), "{plot}");
    }
}

#[test]
fn a_sweep_of_depths_alone_is_drawn_over_the_depths() {
    let page = page("--depth 1,2,4 --block 64k --size 1M");
    assert!(page.contains(">MOCK  throughput over operations in flight<"), "{page}");
    assert!(page.contains("read, 64 KiB: /dev/nvme0n1 and 0000:05:00.0 (p2pmem)"), "{page}");
}

#[test]
fn the_distribution_holds_every_operation() {
    let run = "--machine mock run --source /dev/nvme0n1 --peer 0000:05:00.0 --json --block 4k --size 4M";
    let row = p2pbench(run).json()["rows"][0].clone();
    let list = |key: &str| row["latency_distribution"][key].as_array().expect("a list").clone();
    let operations: u64 = list("operations").iter().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(operations, 1024);
    let slowest = list("up_to_us").last().and_then(serde_json::Value::as_f64);
    assert_eq!(slowest, row["latency_us"]["max"].as_f64());
}
