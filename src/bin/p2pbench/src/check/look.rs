//! The look in a process of its own, so that the deadline holds.
//!
//! A thread that waits for a dead device or a hung filesystem (state D) cannot be ended, and no process ends before its last
//! thread. So the one that is waited for, by a prolog, never touches a device: it leaves the one that does behind.

use std::{
    env, io,
    io::{Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use nix::sys::{prctl, signal::Signal};
use p2pdma::{Error, Refusal};
use signal_hook::{consts::SIGCHLD, flag};

use super::reason;
use crate::{failure::Failure, output::Output};

/// The name under which the process that looks is started, by which it knows that it is the one. What a user gives or has set
/// in the environment cannot be taken for it, and ps(1) shows it.
const LOOKS: &str = "p2pbench-check-looks";

/// Whether this is the process that looks. It ends with the one that waits for it, if it can.
pub(super) fn is_here() -> bool {
    let is_here = env::args_os().next().is_some_and(|name| name == LOOKS);
    // Without it, it looks to the end and prints for nobody.
    let _ = is_here.then(|| prctl::set_pdeathsig(Signal::SIGKILL));
    is_here
}

/// Has this program's own check made by another process, and says what that has said.
pub(super) fn from_outside(deadline: f64, json: bool) -> Result<(), Failure> {
    let mut looks = Command::new("/proc/self/exe");
    looks.arg0(LOOKS).args(env::args_os().skip(1));
    match watch(looks, Duration::from_secs_f64(deadline)) {
        Ok(Some(said)) => said.repeat(),
        Ok(None) => refuse(late(deadline), json),
        Err(error) => {
            let cause = format!("the process that looks could not be started, or not be heard: {error}");
            refuse(Failure::Operation(Refusal::new("check", cause, "mount /proc; see `ulimit -u`")), json)
        }
    }
}

/// Says why there is no answer.
pub(super) fn refuse(failure: Failure, json: bool) -> Result<(), Failure> {
    if !json {
        Output::plain().text(&reason::of_failure(&failure))?;
    }
    Err(failure)
}

fn late(deadline: f64) -> Failure {
    let cause = format!("not done within {deadline} s");
    let cure = "a device or a filesystem may hang: see the kernel's log; or give --deadline more";
    Failure::Library(Error::Deadline(Refusal::new("check", cause, cure)))
}

/// All that a process has said.
#[derive(Debug)]
struct Said {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    status: ExitStatus,
}

impl Said {
    fn repeat(&self) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(&self.stdout).and_then(|()| stdout.flush())?;
        // Whoever has closed stderr does not want to know.
        let _ = io::stderr().write_all(&self.stderr);
        match self.status.code().map(u8::try_from) {
            Some(Ok(0)) => Ok(()),
            Some(Ok(code)) => Err(Failure::Said(code)),
            _ => {
                let cause = format!("the process that looked has ended early ({})", self.status);
                Err(Failure::Operation(Refusal::new("check", cause, "see the kernel's log; try again")))
            }
        }
    }
}

/// Runs a command to its end; `None` at the deadline, when it is told to end and not waited for. Its output goes through pipes
/// that nobody else reads, or whoever reads this program's own would wait for it.
fn watch(mut command: Command, deadline: Duration) -> io::Result<Option<Said>> {
    let end = Instant::now() + deadline;
    // Whoever has started this program may ignore the signal of a child's end, and a program inherits that: the kernel would
    // forget how the child ended. What is caught is not ignored.
    flag::register(SIGCHLD, Arc::default())?;
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    or_end(&mut child, |child| hear(child, end))
}

/// What was heard of a process. If that is not all, whatever the reason, nobody waits for it any more: it is told to end, and
/// ends as soon as the kernel lets it.
fn or_end(child: &mut Child, hear: impl FnOnce(&mut Child) -> io::Result<Option<Said>>) -> io::Result<Option<Said>> {
    let heard = hear(child);
    if !matches!(heard, Ok(Some(_))) {
        let _ = child.kill();
    }
    heard
}

/// All that it says until it ends; `None` at the deadline.
fn hear(child: &mut Child, end: Instant) -> io::Result<Option<Said>> {
    let (stdout, stderr) = (listen(child.stdout.take())?, listen(child.stderr.take())?);
    let Some(stdout) = heard(&stdout, end)? else { return Ok(None) };
    let Some(stderr) = heard(&stderr, end)? else { return Ok(None) };
    Ok(ended(child, end)?.map(|status| Said { stdout, stderr, status }))
}

/// What comes through a pipe until everybody has closed it.
type Heard = mpsc::Receiver<io::Result<Vec<u8>>>;

fn listen(pipe: Option<impl Read + Send + 'static>) -> io::Result<Heard> {
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut bytes = Vec::new();
        let read = pipe.map_or(Ok(0), |mut pipe| pipe.read_to_end(&mut bytes));
        // Whoever has stopped listening has met the deadline.
        let _ = sender.send(read.map(|_| bytes));
    };
    thread::Builder::new().spawn(read).map(|_| receiver)
}

/// `None` at the deadline.
fn heard(from: &Heard, end: Instant) -> io::Result<Option<Vec<u8>>> {
    match from.recv_timeout(end.saturating_duration_since(Instant::now())) {
        Ok(heard) => heard.map(Some),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Polls, since to wait for it might take for ever.
fn ended(child: &mut Child, end: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        match child.try_wait()? {
            None if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
            status => return Ok(status),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn shell(script: &str, seconds: u64) -> Option<Said> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        watch(command, Duration::from_secs(seconds)).expect("a shell")
    }

    #[test]
    fn what_ends_in_time_is_heard_with_its_status() {
        let said = shell("echo out; echo err >&2; exit 3", 60).expect("an end");
        assert_eq!((said.stdout.as_slice(), said.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
        assert!(matches!(said.repeat(), Err(Failure::Said(3))));
    }

    #[test]
    fn what_dies_of_a_signal_is_no_answer() {
        let said = shell("kill -KILL $$", 60).expect("an end");
        assert_eq!(said.repeat().expect_err("a refusal").code(), 4);
    }

    /// A pipe that breaks.
    struct Broken;

    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    /// It would go on for an hour, with nobody who waits for it.
    #[test]
    fn what_cannot_be_heard_is_told_to_end_and_is_no_deadline() {
        let mut child = Command::new("sleep").arg("3600").spawn().expect("a process");
        let end = Instant::now() + Duration::from_secs(60);
        let broken = or_end(&mut child, |_| heard(&listen(Some(Broken))?, end).map(|_| None));
        assert_eq!(broken.expect_err("an error").kind(), io::ErrorKind::InvalidData);
        let status = ended(&mut child, end).expect("a child").expect("an end");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
        let _ = child.kill();
    }

    /// The sleep outlives the shell that is ended, and holds its pipes open: none of it is waited for.
    #[test]
    fn what_does_not_end_is_left_behind() {
        let start = Instant::now();
        assert!(shell("trap '' TERM INT HUP; sleep 20; sleep 20", 1).is_none());
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
}
