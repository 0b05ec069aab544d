//! Instructions an operation, by function.

use std::{collections::BTreeMap, fs, path::Path};

use crate::figures::figures;

/// Code of user space, whatever it is.
const USER: &str = "user space";

/// The guest's kernel and its modules: where each function begins.
pub(crate) struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// From a copy of `/proc/kallsyms`, as root reads it.
    pub(crate) fn load(path: &Path) -> Self {
        let text = fs::read_to_string(path).expect("the guest's symbols");
        let code = |line: &str| {
            let mut words = line.split_whitespace();
            let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
            let module = words.next().unwrap_or("");
            let address = u64::from_str_radix(address, 16).ok()?;
            "tTwW".contains(kind).then(|| (address, format!("{name}{module}")))
        };
        let mut symbols: Vec<_> = text.lines().filter_map(code).collect();
        symbols.sort();
        Self(symbols)
    }

    fn name(&self, address: u64) -> &str {
        const KERNEL: u64 = 0xffff_8000_0000_0000;
        let behind = self.0.partition_point(|(start, _)| *start <= address);
        match behind.checked_sub(1) {
            Some(at) if address >= KERNEL => &self.0[at].1,
            _ => USER,
        }
    }
}

/// What one lane executed in one cell.
pub(crate) struct Profile(BTreeMap<String, f64>);

impl Profile {
    /// The long turn less the short one, for each operation that it did more.
    pub(crate) fn load(share: &Path, lane: &str, cell: usize, symbols: &Symbols) -> Self {
        let path = |suffix: &str| share.join(format!("{lane}.{cell}.0{suffix}"));
        let operations = figures(&path("")).1 - figures(&path(".idle")).1;
        let mut functions = BTreeMap::<String, f64>::new();
        for (suffix, sign) in [(".count", 1.0), (".idle.count", -1.0)] {
            for line in fs::read_to_string(path(suffix)).expect("counts").lines() {
                let (address, executed) = line.split_once(' ').expect("two numbers");
                let address = u64::from_str_radix(address, 16).expect("an address");
                let executed: f64 = executed.parse().expect("a count");
                *functions.entry(symbols.name(address).to_owned()).or_default() += sign * executed / operations;
            }
        }
        Self(functions)
    }

    /// Of user space, and of the kernel.
    pub(crate) fn totals(&self) -> (f64, f64) {
        let user = self.of(USER);
        (user, self.totals_sum() - user)
    }

    pub(crate) fn totals_sum(&self) -> f64 {
        self.0.values().sum()
    }

    fn of(&self, function: &str) -> f64 {
        self.0.get(function).copied().unwrap_or(0.0)
    }

    /// Functions with what each of the two executes in them, the greatest difference first.
    pub(crate) fn differences<'a>(&'a self, other: &'a Self) -> Vec<(&'a str, f64, f64)> {
        let names: std::collections::BTreeSet<&str> = self.0.keys().chain(other.0.keys()).map(String::as_str).collect();
        let mut rows: Vec<_> = names.into_iter().map(|name| (name, self.of(name), other.of(name))).collect();
        rows.sort_by(|one, other| (other.1 - other.2).abs().total_cmp(&(one.1 - one.2).abs()));
        rows
    }
}
