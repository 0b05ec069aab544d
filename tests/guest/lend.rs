//! Memory of a GPU's driver, lent by another program over a socket.

use serde_json::Value;

use crate::machine::Guest;

/// The stand-in for a GPU driver gets the GPU, root makes it a provider, and a program lends 16 MiB.
const LENDER: &str = r#"
set -e
device=/sys/bus/pci/devices/$P2PDMA_GPU_ADDRESS
insmod $P2PDMA_MODULES/p2pdma_test_gpu.ko
echo $P2PDMA_GPU_ADDRESS >$device/driver/unbind
echo p2pdma_test_gpu >$device/driver_override
echo $P2PDMA_GPU_ADDRESS >/sys/bus/pci/drivers_probe
echo $P2PDMA_GPU_ADDRESS >/sys/bus/pci/drivers/p2pdma_user/provide
lend /run/gpu $P2PDMA_GPU_ADDRESS $((16 << 20)) &
for i in $(seq 200); do [ -S /run/gpu ] && break; sleep 0.05; done
"#;

#[test]
fn lent_gpu_memory_is_read_and_written_verified_and_observed() {
    let run = "p2pbench run --source $P2PDMA_SSD --peer socket:/run/gpu --block 1M --depth 8 --size 16M --span 16M --verify --json";
    let script = format!(
        "PATH=${{PATH%%:*}}/examples:$PATH\n{LENDER}\n\
         {run} --rw write --destructive >$P2PDMA_SHARE/write\n\
         {run} --rw read --path direct,bounce >$P2PDMA_SHARE/read\n\
         kill %1\n"
    );
    let outcome = Guest::new("switch").run(&script);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    for name in ["write", "read"] {
        let rows = serde_json::from_str::<Value>(&outcome.file(name)).expect("JSON")["rows"].clone();
        let row = &rows[0];
        assert_eq!((row["way"].as_str(), row["evidence"].as_str()), (Some("module"), Some("observed")), "{row}");
        assert_eq!((row["bytes_direct"].as_u64(), row["bytes_bounced"].as_u64()), (Some(16 << 20), Some(0)), "{row}");
        assert_eq!(row["bytes_verified"].as_u64(), Some(16 << 20), "{row}");
    }
}
