//! A guest to run a script in.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::trace;

/// A virtual machine, described.
pub(crate) struct Guest {
    topology: String,
    cpu: &'static str,
    traced: bool,
    parameter: Option<String>,
}

/// What came out of it.
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) trace: Vec<trace::Command>,
    share: TempDir,
}

impl Guest {
    pub(crate) fn new(topology: &str) -> Self {
        Self { topology: topology.into(), cpu: "zen", traced: false, parameter: None }
    }

    pub(crate) fn cpu(self, cpu: &'static str) -> Self {
        Self { cpu, ..self }
    }

    pub(crate) fn traced(self) -> Self {
        Self { traced: true, ..self }
    }

    /// With a further parameter for its kernel.
    pub(crate) fn kernel(self, parameter: Option<&str>) -> Self {
        Self { parameter: parameter.map(str::to_owned), ..self }
    }

    /// Runs a shell script in it, with p2pbench on the path.
    #[expect(clippy::print_stderr, reason = "whoever reads the test's output must know")]
    pub(crate) fn run(self, script: &str) -> Outcome {
        let outcome = self.run_once(script);
        // The emulator itself crashed, which says nothing of what is tested.
        if outcome.status == 125 && outcome.stderr.contains("QEMU's status 139") {
            eprintln!("QEMU crashed, and is tried once more:\n{}", outcome.stderr);
            return self.run_once(script);
        }
        outcome
    }

    fn run_once(&self, script: &str) -> Outcome {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let share = TempDir::new().expect("a directory to share");
        let trace = share.path().join("trace");
        let mut run = Command::new(root.join("tests/vm/run"));
        run.args(["--quiet", "--topology", &self.topology, "--cpu", self.cpu, "--share"]).arg(share.path());
        if self.traced {
            run.arg("--trace").arg(&trace);
        }
        if let Some(parameter) = &self.parameter {
            run.args(["--append", parameter]);
        }
        let path = format!("PATH={}:$PATH\n", binaries().display());
        let output = run.args(["--", "bash", "-c", &(path + script)]).output().expect("tests/vm/run");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Outcome {
            status: output.status.code().expect("an exit status"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            trace: if self.traced { trace::read(&trace) } else { Vec::new() },
            share,
        }
    }
}

impl Outcome {
    /// What the script left in `$P2PDMA_SHARE/<name>`.
    pub(crate) fn file(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).expect("text")
    }

    /// The same, whatever it holds.
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.share.path().join(name)).expect("a file that the script left")
    }
}

/// Where cargo put p2pbench: two levels above this test.
fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("this program");
    test.ancestors().nth(2).expect("target/<profile>").to_owned()
}
