//! Many writers at once, and any order of steps, faults and restarts.

use super::*;

#[test]
fn many_writers_of_the_same_entries_get_the_same_indices() {
    let dir = TempDir::new().unwrap();
    let store = DiskStore::open(dir.path(), disk_options()).unwrap();
    let sequencer = Sequencer::start(Box::new(store), signer(), &quick(), None).unwrap();
    let answers: Vec<Vec<(String, Sequenced)>> = std::thread::scope(|scope| {
        let writer = |seed: usize| {
            let sequencer = &sequencer;
            move || {
                let mut answers = Vec::new();
                for round in 0..150 {
                    // Each writer in its own order, two entries at a time.
                    let pick = |step: usize| format!("entry {}", (round * step + seed * 31) % 150);
                    let entries = [pick(7), pick(11)];
                    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
                    let results = results(sequencer.submit(candidates(&entries), Wait::Sequenced).unwrap());
                    for (entry, result) in entries.iter().zip(results) {
                        answers.push(((*entry).to_owned(), result.unwrap()));
                    }
                }
                answers
            }
        };
        let writers: Vec<_> = (0..4).map(|seed| scope.spawn(writer(seed))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let mut indices: HashMap<String, LeafIndex> = HashMap::new();
    let mut fresh = 0;
    for (entry, sequenced) in answers.into_iter().flatten() {
        assert_eq!(*indices.entry(entry).or_insert(sequenced.index), sequenced.index);
        fresh += usize::from(!sequenced.duplicate);
    }
    assert_eq!((fresh, indices.len()), (150, 150), "each was new once");
    for (entry, index) in &indices {
        let read = sequencer.reader().entry(*index).unwrap();
        assert_eq!(read, entry.as_bytes());
    }
    sequencer.shut_down().unwrap();
    assert_eq!(sequencer.published().borrow().checkpoint.size.get(), 150);
}

#[derive(Debug, Clone)]
enum Step {
    Submit(Vec<u8>),
    Inject(FaultPoint, StoreFault),
    Settle,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let point = prop::sample::select(UNWITNESSED.to_vec());
    let fault = prop::sample::select(vec![StoreFault::Failed, StoreFault::FailedButPersisted]);
    prop_oneof![
        6 => prop::collection::vec(0..60_u8, 0..6).prop_map(Step::Submit),
        3 => (point, fault).prop_map(|(point, fault)| Step::Inject(point, fault)),
        1 => Just(Step::Settle),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_happens_what_was_promised_holds(steps in prop::collection::vec(step(), 1..40)) {
        let mut bench = Bench::new();
        // Entries 0 to 59. Some want the same sequence number as others.
        let entry = |id: &u8| match id % 3 {
            0 => format!("{id} claim:{}:{id}", id % 9),
            _ => format!("{id}"),
        };
        for step in steps {
            match step {
                Step::Submit(ids) => {
                    let entries: Vec<String> = ids.iter().map(entry).collect();
                    let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
                    bench.submit(&entries);
                }
                Step::Inject(point, fault) => bench.store.store.inject(point, fault),
                Step::Settle => bench.settle(),
                Step::Restart => bench.restart(),
            }
            bench.check();
        }
        // A client that asks again gets the first index, once the last faults are over.
        for (index, entry) in bench.promised.clone() {
            let mut again = bench.submit(&[std::str::from_utf8(&entry).unwrap()]);
            for _ in UNWITNESSED {
                if again[0].is_err() {
                    again = bench.submit(&[std::str::from_utf8(&entry).unwrap()]);
                }
            }
            prop_assert_eq!(again, [duplicate(index)]);
        }
        bench.settle();
    }
}
