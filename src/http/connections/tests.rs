use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> ConnectionLimits {
    ConnectionLimits { connections: 4, each: 2, stall: Duration::ZERO, ..ConnectionLimits::for_files(5_000) }
}

fn network(last: u8) -> Option<Network> {
    Some(Network::from(std::net::IpAddr::from([192, 0, 2, last])))
}

fn slot(connections: &Arc<Connections>, network: Option<Network>) -> Slot {
    connections.try_slot(network).expect("room").unwrap_or_else(|e| panic!("{e:?}"))
}

fn was_closed(slot: &Slot) -> bool {
    let mut closed = std::pin::pin!(slot.connection.close.notified());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::future::Future::poll(closed.as_mut(), &mut context).is_ready()
}

fn closed(slots: &[Slot]) -> Vec<usize> {
    (0..slots.len()).filter(|at| was_closed(&slots[*at])).collect()
}

#[test]
fn there_are_files_left_for_the_server_itself() {
    let of = |files| ConnectionLimits::for_files(files).connections;
    assert_eq!([of(0), of(1), of(64), of(1_024), of(65_536)], [1, 1, 32, 768, 4_096]);
    assert!(ConnectionLimits::for_files(64).each >= 8);
    assert!(ConnectionLimits::for_files(64).idle > 600 * SECOND, "longer than proxies keep theirs");
}

/// Adds a connection. Returns its slot, and which of `slots` was closed for it.
fn newcomer(
    connections: &Arc<Connections>,
    network: Option<Network>,
    slots: &mut Vec<Slot>,
) -> (Slot, usize) {
    assert!(connections.try_slot(network).is_none(), "all slots are taken");
    let gone = closed(slots);
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert!(connections.try_slot(network).is_none() && closed(slots).is_empty(), "one is enough");
    drop(slots.remove(gone[0]));
    (slot(connections, network), gone[0])
}

#[test]
fn when_all_slots_are_taken_the_one_stalled_longest_goes() {
    let connections = Connections::new(limits());
    let mut slots: Vec<Slot> = (0..4).map(|_| slot(&connections, None)).collect();
    for (at, progress) in [3, 1, 2, 4].into_iter().enumerate() {
        slots[at].connection.progress.store(progress, RELAXED);
    }
    // That one is being served.
    let served = slots[1].connection.serve();
    let (first, gone) = newcomer(&connections, None, &mut slots);
    assert_eq!(gone, 2);
    first.connection.progress.store(5, RELAXED);
    // Later than all of the times above.
    std::thread::sleep(Duration::from_millis(10));
    drop(served);
    assert_eq!(newcomer(&connections, None, &mut slots).1, 0, "the other one has just been served");
}

#[test]
fn what_is_served_is_not_closed_and_newcomers_wait() {
    let connections = Connections::new(limits());
    let mut slots: Vec<Slot> = (0..4).map(|_| slot(&connections, None)).collect();
    let mut served: Vec<Serving> = slots.iter().map(|slot| slot.connection.serve()).collect();
    assert!(connections.try_slot(None).is_none() && closed(&slots).is_empty());
    served.remove(2);
    assert!(connections.try_slot(None).is_none());
    assert_eq!(closed(&slots), [2]);
    // A request came before it was closed: it stays, and may go later.
    slots[2].keep_open();
    served.clear();
    assert!(connections.try_slot(None).is_none());
    assert_eq!(closed(&slots).len(), 1);
    slots.clear();
    slot(&connections, None);
}

#[test]
fn a_network_has_a_limit_of_its_own_and_makes_room_within_it() {
    let connections = Connections::new(limits());
    let own: Vec<Slot> = (0..2).map(|_| slot(&connections, network(1))).collect();
    let others = [slot(&connections, network(2))];
    let third = slot(&connections, network(1));
    assert_eq!((closed(&own).len(), closed(&others)), (1, vec![]));
    let all: Vec<Serving> = own.iter().chain([&third]).map(|slot| slot.connection.serve()).collect();
    assert!(matches!(connections.try_slot(network(1)), Some(Err(NetworkFull))));
    drop((all, others));
    slot(&connections, network(1));
}

#[test]
fn who_has_the_most_makes_room_first() {
    let connections = Connections::new(ConnectionLimits { connections: 8, each: 3, ..limits() });
    let mut slots: Vec<Slot> = (0..3).map(|_| slot(&connections, network(1))).collect();
    slots.extend((2..7).map(|other| slot(&connections, network(other))));
    slots[3..].iter().for_each(|slot| slot.connection.progress.store(0, RELAXED));
    assert!(newcomer(&connections, network(7), &mut slots).1 < 3);
}

/// Exactly two bytes of a body.
fn stalls(slot: &Slot) -> (Serving, Arrival) {
    let (serving, arrival) = (slot.connection.serve(), slot.connection.expect_body());
    arrival.came(2);
    arrival.awaits();
    (serving, arrival)
}

#[test]
fn whoever_sends_the_rest_of_its_body_never_makes_room() {
    let connections = Connections::new(limits());
    let mut slots: Vec<Slot> = (1..5).map(|last| slot(&connections, network(last))).collect();
    let served: Vec<_> = slots.iter().map(stalls).collect();
    // The body has arrived, so the server is at work.
    served[0].1.came(4_998);
    std::thread::sleep(Duration::from_millis(10));
    assert_ne!(newcomer(&connections, network(5), &mut slots).1, 0);
}

#[test]
fn a_byte_now_and_then_is_no_progress() {
    let limits = ConnectionLimits::for_files(5_000);
    let later = |place: &OpenConnection| place.is_stalled(place.connection.now() + 1_000, &limits);
    let trickles_a_head = place();
    trickles_a_head.connection.received();
    let began = trickles_a_head.connection.since();
    std::thread::sleep(Duration::from_millis(50));
    trickles_a_head.connection.received();
    assert_eq!(trickles_a_head.connection.since(), began);

    let sends_a_body = place();
    let connection = &sends_a_body.connection;
    let (serving, arrival) = (connection.serve(), connection.expect_body());
    let began = connection.since();
    assert!(!later(&sends_a_body), "not before it is waited for");
    std::thread::sleep(Duration::from_millis(50));
    connection.received();
    arrival.came(1);
    arrival.awaits();
    assert_eq!(connection.since(), began + 1);
    assert!(later(&sends_a_body));
    arrival.came(10_000);
    assert!(connection.since() >= began + 40 && connection.since() <= connection.now());
    // A client that was answered before its body arrived sends no header with it.
    drop(serving);
    connection.received();
    assert_eq!(connection.head.load(RELAXED), 0);
    drop(arrival);
    connection.received();
    assert_ne!(connection.head.load(RELAXED), 0);
}

#[test]
fn a_few_networks_together_leave_places_to_others() {
    let limits = ConnectionLimits { connections: 1_024, each: 256, ..limits() };
    let connections = Connections::new(limits);
    let mut taken = Vec::new();
    let mut busy = |from: u8| {
        let before = taken.len();
        while let Some(Ok(slot)) = connections.try_slot(network(from)) {
            taken.push((slot.connection.serve(), slot));
        }
        taken.len() - before
    };
    let each: Vec<usize> = (1..8).map(&mut busy).collect();
    assert_eq!(each, [256, 256, 256, 128, 64, 32, 16]);
    // An address may always have this many, if there are any.
    assert_eq!(busy(8), 16);
}

#[test]
fn a_seat_is_free_when_it_is_left() {
    let connections = Connections::new(limits());
    let slots: Vec<Slot> = (0..3).map(|_| slot(&connections, network(1))).collect();
    assert_eq!(closed(&slots).len(), 1, "the limit is two");
    drop(slots);
    let table = connections.table();
    assert!(table.open.is_empty() && table.each.is_empty() && table.closing == 0, "{table:?}");
}

/// Checks each second, for this long. Returns the second at which the connection was closed.
fn over_after(
    place: &mut OpenConnection,
    limits: &ConnectionLimits,
    seconds: u64,
    mut each: impl FnMut(&Connection),
) -> Option<u64> {
    let began = place.connection.now();
    (0..seconds).find(|second| {
        each(&place.connection);
        place.is_over(began + second * 1_000, limits)
    })
}

fn place() -> OpenConnection {
    let connection = Arc::new(Connection::new(Instant::now()));
    OpenConnection { connection, network: None, closing: false, window: (0, 0) }
}

#[test]
fn a_connection_may_idle_for_long_and_a_head_may_not() {
    let (limits, mut idle) = (ConnectionLimits::for_files(5_000), place());
    assert_eq!(over_after(&mut idle, &limits, 1_000, |_| ()), Some(620));
    let mut sends_a_head = place();
    sends_a_head.connection.received();
    let byte_by_byte = |connection: &Connection| connection.received();
    assert_eq!(over_after(&mut sends_a_head, &limits, 1_000, byte_by_byte), Some(30));
    let mut served = place();
    served.connection.received();
    let _serving = served.connection.serve();
    assert_eq!(over_after(&mut served, &limits, 1_000, |_| ()), None);
}

#[test]
fn whoever_is_sent_an_answer_has_to_take_it() {
    let limits = ConnectionLimits::for_files(5_000);
    let mut takes_none = place();
    takes_none.connection.blocked();
    let over = over_after(&mut takes_none, &limits, 1_000, |_| ());
    assert!(over.is_some_and(|seconds| (29..=31).contains(&seconds)), "{over:?}");
    let taking = |bytes| {
        move |connection: &Connection| {
            connection.sent(bytes);
            connection.blocked();
        }
    };
    let mut takes_little = place();
    assert!(over_after(&mut takes_little, &limits, 1_000, taking(1_000)).is_some_and(|s| s < 62));
    let mut slow = place();
    assert_eq!(over_after(&mut slow, &limits, 500, taking(10_000)), None);
}
