//! The counters of a queue, in every order in which threads can count and look: loom runs through all of them.

use std::sync::Arc;

use loom::{sync::atomic, thread};

#[path = "../src/transfer/counters/tally.rs"]
mod tally;

use tally::Tally;

/// An operation of 512 bytes.
const ONE: [u64; 7] = [1, 0, 0, 512, 0, 0, 0];

#[test]
fn numbers_never_go_back_and_none_is_lost() {
    loom::model(|| {
        let tally = Arc::new(Tally::default());
        let looks = Arc::clone(&tally);
        let looking = thread::spawn(move || {
            let [first, second] = [looks.read(), looks.read()];
            assert!(first.iter().zip(&second).all(|(first, second)| first <= second), "{first:?} {second:?}");
            assert!([0, 1, 2].contains(&second[0]) && second[3] % 512 == 0);
        });
        tally.add(ONE);
        tally.add(ONE);
        looking.join().expect("no panic");
        assert_eq!(tally.read(), [2, 0, 0, 1024, 0, 0, 0]);
    });
}

/// A queue goes to another thread by something that orders what was done before: a join, a lock, a channel.
#[test]
fn a_queue_that_moves_to_another_thread_counts_on() {
    loom::model(|| {
        let tally = Arc::new(Tally::default());
        let counts = Arc::clone(&tally);
        thread::spawn(move || counts.add(ONE)).join().expect("no panic");
        tally.add(ONE);
        assert_eq!(tally.read()[0], 2);
    });
}

/// The promise is needed: two at once would lose numbers, and the model finds that out.
#[test]
#[should_panic(expected = "a number was lost")]
fn two_that_count_at_once_would_lose_numbers() {
    loom::model(|| {
        let tally = Arc::new(Tally::default());
        let counts = Arc::clone(&tally);
        let other = thread::spawn(move || counts.add(ONE));
        tally.add(ONE);
        other.join().expect("no panic");
        assert_eq!(tally.read()[0], 2, "a number was lost");
    });
}
