//! How the running kernel was built, where a file tells.

use crate::machine::Facts;

/// The file that says that this kernel was built without p2pdma; `None` when none says so.
///
/// `/proc/config.gz` is not looked at: it is compressed, and few kernels have it alone.
pub(super) fn lacks_p2pdma(facts: &dyn Facts) -> Option<String> {
    let release = facts.text("/proc/sys/kernel/osrelease")?;
    let paths = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    paths.into_iter().find(|path| facts.text(path).is_some_and(|text| says_no(&text)))
}

/// A configuration that is one, and does not set it: what depends on options that are off is not even mentioned.
fn says_no(text: &str) -> bool {
    let is_set = |name: &str| text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest == "=y"));
    is_set("CONFIG_PCI") && !is_set("CONFIG_PCI_P2PDMA")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_set_and_what_is_not_mentioned_is_lacking() {
        assert!(says_no("CONFIG_PCI=y\n# CONFIG_PCI_P2PDMA is not set\n"));
        assert!(says_no("CONFIG_PCI=y\n"));
        assert!(!says_no("CONFIG_PCI=y\nCONFIG_PCI_P2PDMA=y\n"));
        assert!(!says_no(""), "no configuration says nothing");
    }

    proptest! {
        #[test]
        fn any_text_says_yes_or_no(text in "(CONFIG_PCI(_P2PDMA)?=[ymn]?\n|.*\n){0,4}") {
            let _ = says_no(&text);
        }
    }
}
