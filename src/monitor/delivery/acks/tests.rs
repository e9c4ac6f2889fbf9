use std::fs;
use std::sync::Arc;

use super::*;
use crate::disk::RealDisk;
use crate::monitor::delivery::{Delivery as Open, DeliverySettings};
use crate::monitor::event::{Code, Event};

/// A directory with some open alerts, and their ids.
fn raised(count: u64) -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let settings = DeliverySettings::new(Arc::new(|| 100));
    let delivery = Open::open(dir.path(), settings, Box::new(std::io::sink())).unwrap();
    let event = |number: u64| Event::new(Code::Fork, None, &[&number.to_string()], 100, "fork");
    delivery.tell(&(0..count).map(event).collect::<Vec<_>>()).unwrap();
    let ids = (0..count).map(|number| event(number).id.to_string()).collect();
    (dir, ids)
}

#[test]
fn alerts_are_acknowledged_all_or_none_and_once() {
    let (dir, ids) = raised(3);
    let (dir, none) = (dir.path(), "0000000000000000");
    let text = || fs::read_to_string(dir.join(ACKS)).unwrap_or_default();
    assert!(matches!(acknowledge(dir, &[&ids[0], none], 5), Err(AckError::Unknown { .. })));
    for bad in ["", &ids[0][..5], "xxxxxxxx", &ids[0].to_uppercase()] {
        let refused = acknowledge(dir, &[bad], 5);
        assert!(matches!(refused, Err(AckError::NoId(_))) || bad == ids[0], "{bad}");
    }
    assert_eq!(text(), "");
    let done = acknowledge(dir, &[&ids[1][..6], ids[1].as_str()], 5).unwrap();
    assert_eq!(done.iter().map(|alert| &alert.id).collect::<Vec<_>>(), [&ids[1]]);
    let said = format!("{{\"said\":\"acknowledge\",\"id\":\"{}\",\"raised\":100,\"time\":5}}\n", ids[1]);
    assert_eq!(text(), said);
    assert!(matches!(acknowledge(dir, &[&ids[1]], 6), Err(AckError::Unknown { .. })), "nothing waits");
    assert_eq!(acknowledge_all(dir, 7).unwrap().len(), 2);
    assert_eq!(acknowledge_all(dir, 8).unwrap().len(), 0);
    assert_eq!(list(dir, 9).unwrap(), Listing { alerts: vec![], silences: vec![] });
}

#[test]
fn a_beginning_that_several_have_is_refused() {
    let all = ["abcdef00".to_owned(), "abcdef01".to_owned()];
    let find = |id: &str| find(&all, id, "silence", |id| id).cloned();
    assert!(matches!(find("abcdef0"), Err(AckError::Ambiguous { count: 2, .. })));
    assert_eq!(find("abcdef01").unwrap(), all[1]);
}

#[test]
fn silences_are_named_by_what_they_cover() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let wish = |log: &str, until| Silence { code: None, log: Some(log.to_owned()), package: None, until };
    let first = silence(dir, &wish("a", 50), 1).unwrap();
    let longer = silence(dir, &wish("a", 70), 1).unwrap();
    let other = silence(dir, &wish("b", 60), 1).unwrap();
    assert_eq!(first.name, longer.name);
    assert_eq!(list(dir, 10).unwrap().silences, [other.clone(), longer.clone()]);
    assert_eq!(list(dir, 60).unwrap().silences, std::slice::from_ref(&longer));
    assert_eq!(list(dir, 70).unwrap().silences, []);
    assert!(matches!(unsilence(dir, &other.name, 65), Err(AckError::Unknown { .. })), "it is over");
    assert_eq!(unsilence(dir, &longer.name, 65).unwrap(), longer);
    assert_eq!(list(dir, 66).unwrap().silences, []);
    let nothing = Silence { code: None, log: None, package: None, until: 1 };
    assert!(matches!(silence(dir, &nothing, 0), Err(AckError::Format(_))));
}

#[test]
fn no_more_silences_than_events_can_be_compared_with() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let wish = |at: usize| Silence { code: None, log: Some(at.to_string()), package: None, until: 50 };
    let lock = file::lock(dir).unwrap();
    let said = |at| Said::Silence { name: name_of(&wish(at)), silence: wish(at), time: 1 };
    file::say(dir, &lock, &(0..MAX_SILENCES).map(said).collect::<Vec<_>>()).unwrap();
    drop(lock);
    assert!(matches!(silence(dir, &wish(MAX_SILENCES), 2), Err(AckError::TooManySilences)));
    silence(dir, &Silence { until: 60, ..wish(7) }, 2).unwrap();
    silence(dir, &wish(MAX_SILENCES), 55).unwrap();
}

#[test]
fn what_somebody_left_half_written_spoils_nothing_behind_it() {
    let (dir, ids) = raised(2);
    let path = dir.path().join(ACKS);
    acknowledge(dir.path(), &[&ids[0]], 5).unwrap();
    let mut text = fs::read_to_string(&path).unwrap();
    text += "{\"said\":\"acknow";
    fs::write(&path, &text).unwrap();
    acknowledge(dir.path(), &[&ids[1]], 5).unwrap();
    let mut reader = Reader::default();
    let news = reader.read_new(dir.path()).unwrap();
    assert_eq!((news.said.len(), news.unknown, news.anew), (2, 1, true));
    let news = reader.read_new(dir.path()).unwrap();
    assert_eq!((news.said.len(), news.unknown, news.anew), (0, 0, false));
}

#[test]
fn what_is_being_written_is_read_when_it_is_whole() {
    let (dir, path) = (tempfile::tempdir().unwrap(), |dir: &tempfile::TempDir| dir.path().join(ACKS));
    let said = Said::Unsilence { name: "abcdef01".to_owned(), time: 5 };
    let line = serde_json::to_string(&said).unwrap() + "\n";
    let mut reader = Reader::default();
    for end in 1..line.len() {
        fs::write(path(&dir), &line[..end]).unwrap();
        let news = reader.read_new(dir.path()).unwrap();
        assert_eq!((news.said.len(), news.unknown), (0, 0), "{end}");
    }
    fs::write(path(&dir), &line).unwrap();
    assert_eq!(reader.read_new(dir.path()).unwrap().said, [said]);
}

#[test]
fn a_long_file_is_written_anew_and_only_when_all_of_it_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let say = |said: &[Said]| {
        let lock = file::lock(dir).unwrap();
        file::say(dir, &lock, said)
    };
    let ack = |time| Said::Acknowledge { id: "0".repeat(32), raised: 1, time };
    let mut reader = Reader::default();
    assert!(!reader.is_long());
    say(&(0..4_000).map(ack).collect::<Vec<_>>()).unwrap();
    assert_eq!(reader.read_new(dir).unwrap().said.len(), 4_000);
    assert!(reader.is_long());
    let kept = [Said::Unsilence { name: "abcdef01".to_owned(), time: 5 }];
    say(&[ack(9)]).unwrap();
    reader.renew(&RealDisk, dir, &kept).unwrap();
    assert_eq!(reader.read_new(dir).unwrap().said, [ack(9)], "somebody was quicker");
    reader.renew(&RealDisk, dir, &kept).unwrap();
    let news = reader.read_new(dir).unwrap();
    assert_eq!((news.said, news.anew, reader.is_long()), (kept.to_vec(), true, false));
    // Where no monitor runs, it does not grow for ever.
    for _ in 0..60 {
        if say(&(0..2_000).map(ack).collect::<Vec<_>>()).is_err() {
            let error = say(&[ack(1)]).unwrap_err().to_string();
            return assert!(error.contains("start the monitor"), "{error}");
        }
    }
    panic!("it grows for ever");
}
