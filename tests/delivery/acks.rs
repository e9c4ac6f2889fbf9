//! What people say in other processes while the monitor runs.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use treehead::monitor::delivery::Silence;
use treehead::monitor::delivery::acks::{acknowledge, list, silence};

use super::world::{START, Toy, eventually, fork, forks, open};
use crate::common::mounts::quick_dir;

/// Set in a process that is to acknowledge: the directory and the id.
const CHILD: &str = "TREEHEAD_TEST_ACKNOWLEDGES";

#[test]
fn what_another_process_acknowledges_counts_within_a_moment() {
    if let Ok(order) = std::env::var(CHILD) {
        let (dir, id) = order.rsplit_once(' ').unwrap();
        acknowledge(Path::new(dir), &[id], START).unwrap();
        return;
    }
    let dir = quick_dir();
    let delivery = open(dir.path(), Arc::new(Toy::default()));
    delivery.tell(&forks(0..3)).unwrap();
    let order = format!("{} {}", dir.path().display(), &fork(1).id.to_string()[..12]);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "acks::what_another_process_acknowledges_counts_within_a_moment"]);
    let output = child.env(CHILD, order).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let open_ids = || delivery.open_alerts().into_iter().map(|alert| alert.id).collect::<Vec<_>>();
    eventually("it counts", || open_ids() == [fork(0), fork(2)].map(|event| event.id.to_string()));
    // The book has it, too: it is known without the file that it was said in.
    eventually("the book has it", || {
        let book = std::fs::read_to_string(dir.path().join("alerts.json")).unwrap();
        book.contains("\"acknowledged\"")
    });
    drop(delivery);
    std::fs::remove_file(dir.path().join("acks.jsonl")).unwrap();
    assert_eq!(list(dir.path(), START).unwrap().alerts.len(), 2);
}

#[test]
fn many_speak_at_once_and_all_of_them_are_heard() {
    let dir = quick_dir();
    let delivery = open(dir.path(), Arc::new(Toy::default()));
    delivery.tell(&forks(0..40)).unwrap();
    std::thread::scope(|scope| {
        for speaker in 0..4 {
            let dir = dir.path();
            scope.spawn(move || {
                for number in 0..10 {
                    let id = fork(speaker * 10 + number).id.to_string();
                    acknowledge(dir, &[id], START).unwrap();
                    let log = Some(format!("log.example/{speaker}/{number}"));
                    let wish = Silence { code: None, log, package: None, until: START + 9 };
                    silence(dir, &wish, START).unwrap();
                }
            });
        }
    });
    let listing = list(dir.path(), START).unwrap();
    assert_eq!((listing.alerts.len(), listing.silences.len()), (0, 40));
    eventually("the desk has heard them", || delivery.open_alerts().is_empty());
}
