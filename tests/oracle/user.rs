//! The same library as an ordinary user, in a process of its own: what it may not read it must not guess.

use std::{
    io::{BufRead, BufReader, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command},
};

use p2pdma::{machine::Machine, pci::Address, topology::Topology};

/// The word that makes this program the ordinary user.
pub(crate) const ORDINARY_USER: &str = "ordinary-user";
const NOBODY: u32 = 65534;

/// What the library answers there.
pub(crate) struct Answer {
    pub(crate) map_type: String,
    pub(crate) distance: Option<u32>,
    pub(crate) acs_redirect: Vec<Address>,
}

pub(crate) struct User {
    process: Child,
    stream: BufReader<UnixStream>,
}

impl User {
    pub(crate) fn start() -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        // By this path it need not be allowed into the directory of the program.
        let mut command = Command::new("/proc/self/exe");
        let command = command.arg(ORDINARY_USER).stdin(OwnedFd::from(theirs)).uid(NOBODY).gid(NOBODY);
        Self { process: command.spawn().expect("an ordinary user"), stream: BufReader::new(ours) }
    }

    /// One scan, and the routes of all these pairs in it.
    pub(crate) fn ask(&mut self, pairs: &[(Address, Address)]) -> Vec<Answer> {
        let questions: String = pairs.iter().map(|(provider, client)| format!("{provider} {client}\n")).collect();
        self.stream.get_mut().write_all(format!("{questions}\n").as_bytes()).expect("the user listens");
        let answers: Vec<_> = paragraph(&mut self.stream).iter().map(|line| answer(line)).collect();
        assert_eq!(answers.len(), pairs.len(), "an answer to each question");
        answers
    }

    pub(crate) fn stop(self) {
        let Self { mut process, stream } = self;
        drop(stream);
        assert!(process.wait().expect("its end").success());
    }
}

fn answer(line: &str) -> Answer {
    let [map_type, distance, ports] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("no answer: {line}") };
    let ports = ports.split(',').filter(|port| !port.is_empty());
    Answer {
        map_type: map_type.to_owned(),
        distance: distance.parse().ok(),
        acs_redirect: ports.map(|port| port.parse().expect("an address")).collect(),
    }
}

/// The lines up to an empty one, or the end.
fn paragraph(stream: &mut impl BufRead) -> Vec<String> {
    let lines = stream.lines().map(|line| line.expect("the other side"));
    lines.take_while(|line| !line.is_empty()).collect()
}

/// The ordinary user's side: answers on standard input, until it ends.
pub(crate) fn serve() {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().expect("a socket");
    let mut stream = BufReader::new(UnixStream::from(socket));
    assert!(std::fs::read("/proc/1/environ").is_err(), "this is no ordinary user");
    loop {
        let questions = paragraph(&mut stream);
        if questions.is_empty() {
            return;
        }
        let topology = Topology::scan(&Machine::host()).expect("a scan");
        let answers: String = questions.iter().map(|line| reply(&topology, line)).collect();
        stream.get_mut().write_all(format!("{answers}\n").as_bytes()).expect("the tests listen");
    }
}

fn reply(topology: &Topology, question: &str) -> String {
    let (provider, client) = question.split_once(' ').expect("two addresses");
    let route = topology.route(provider.parse().expect("an address"), client.parse().expect("an address"));
    let route = route.expect("both are there");
    let distance = route.distance.map_or("-".to_owned(), |distance| distance.to_string());
    let ports: Vec<_> = route.acs_redirect.iter().map(ToString::to_string).collect();
    format!("{} {distance} {}\n", route.map_type, ports.join(","))
}
