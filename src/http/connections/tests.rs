use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> Limits {
    Limits { connections: 4, each: 2, rest: Duration::ZERO, ..Limits::for_files(5_000) }
}

fn network(last: u8) -> Option<Network> {
    Some(Network::from(std::net::IpAddr::from([192, 0, 2, last])))
}

fn seat(connections: &Arc<Connections>, network: Option<Network>) -> Seat {
    connections.try_seat(network).expect("room").unwrap_or_else(|e| panic!("{e:?}"))
}

fn was_closed(seat: &Seat) -> bool {
    let mut closed = std::pin::pin!(seat.connection.close.notified());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    std::future::Future::poll(closed.as_mut(), &mut context).is_ready()
}

fn closed(seats: &[Seat]) -> Vec<usize> {
    (0..seats.len()).filter(|at| was_closed(&seats[*at])).collect()
}

#[test]
fn there_are_files_left_for_the_server_itself() {
    let of = |files| Limits::for_files(files).connections;
    assert_eq!([of(0), of(1), of(64), of(1_024), of(65_536)], [1, 1, 32, 768, 4_096]);
    assert!(Limits::for_files(64).each >= 8);
    assert!(Limits::for_files(64).idle > 600 * SECOND, "longer than proxies keep theirs");
}

/// The newcomer's seat, and which of these had to go for it.
fn newcomer(
    connections: &Arc<Connections>,
    network: Option<Network>,
    seats: &mut Vec<Seat>,
) -> (Seat, usize) {
    assert!(connections.try_seat(network).is_none(), "all places are taken");
    let gone = closed(seats);
    assert_eq!(gone.len(), 1, "{gone:?}");
    assert!(connections.try_seat(network).is_none() && closed(seats).is_empty(), "one is enough");
    drop(seats.remove(gone[0]));
    (seat(connections, network), gone[0])
}

#[test]
fn when_all_places_are_taken_the_one_that_rests_longest_goes() {
    let connections = Connections::new(limits());
    let mut seats: Vec<Seat> = (0..4).map(|_| seat(&connections, None)).collect();
    for (at, progress) in [3, 1, 2, 4].into_iter().enumerate() {
        seats[at].connection.progress.store(progress, RELAXED);
    }
    // That one is being served.
    let served = seats[1].connection.serve();
    let (first, gone) = newcomer(&connections, None, &mut seats);
    assert_eq!(gone, 2);
    first.connection.progress.store(5, RELAXED);
    // Later than all of the times above.
    std::thread::sleep(Duration::from_millis(10));
    drop(served);
    assert_eq!(newcomer(&connections, None, &mut seats).1, 0, "the other one has just been served");
}

#[test]
fn what_is_served_is_not_closed_and_newcomers_wait() {
    let connections = Connections::new(limits());
    let mut seats: Vec<Seat> = (0..4).map(|_| seat(&connections, None)).collect();
    let mut served: Vec<Serving> = seats.iter().map(|seat| seat.connection.serve()).collect();
    assert!(connections.try_seat(None).is_none() && closed(&seats).is_empty());
    served.remove(2);
    assert!(connections.try_seat(None).is_none());
    assert_eq!(closed(&seats), [2]);
    // A request came before it was closed: it stays, and may go later.
    seats[2].stay();
    served.clear();
    assert!(connections.try_seat(None).is_none());
    assert_eq!(closed(&seats).len(), 1);
    seats.clear();
    seat(&connections, None);
}

#[test]
fn a_network_has_a_limit_of_its_own_and_makes_room_within_it() {
    let connections = Connections::new(limits());
    let own: Vec<Seat> = (0..2).map(|_| seat(&connections, network(1))).collect();
    let others = [seat(&connections, network(2))];
    let third = seat(&connections, network(1));
    assert_eq!((closed(&own).len(), closed(&others)), (1, vec![]));
    let all: Vec<Serving> = own.iter().chain([&third]).map(|seat| seat.connection.serve()).collect();
    assert!(matches!(connections.try_seat(network(1)), Some(Err(TooMany))));
    drop((all, others));
    seat(&connections, network(1));
}

#[test]
fn who_has_the_most_makes_room_first() {
    let connections = Connections::new(Limits { connections: 8, each: 3, ..limits() });
    let mut seats: Vec<Seat> = (0..3).map(|_| seat(&connections, network(1))).collect();
    seats.extend((2..7).map(|other| seat(&connections, network(other))));
    seats[3..].iter().for_each(|seat| seat.connection.progress.store(0, RELAXED));
    assert!(newcomer(&connections, network(7), &mut seats).1 < 3);
}

/// Two bytes of a body, and no more.
fn stalls(seat: &Seat) -> (Serving, Arc<Arrival>) {
    let (serving, arrival) = (seat.connection.serve(), seat.connection.expect_body());
    arrival.came(2);
    arrival.awaits();
    (serving, arrival)
}

#[test]
fn whoever_sends_the_rest_of_its_body_never_makes_room() {
    let connections = Connections::new(limits());
    let mut seats: Vec<Seat> = (1..5).map(|last| seat(&connections, network(last))).collect();
    let served: Vec<_> = seats.iter().map(stalls).collect();
    // Its body has come: the server works on it.
    served[0].1.came(4_998);
    std::thread::sleep(Duration::from_millis(10));
    assert_ne!(newcomer(&connections, network(5), &mut seats).1, 0);
}

#[test]
fn a_byte_now_and_then_is_no_progress() {
    let limits = Limits::for_files(5_000);
    let later = |place: &Place| place.rests(place.connection.now() + 1_000, &limits);
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
    // Whoever was answered before its body came sends no head with it.
    drop(serving);
    connection.received();
    assert_eq!(connection.head.load(RELAXED), 0);
    drop(arrival);
    connection.received();
    assert_ne!(connection.head.load(RELAXED), 0);
}

#[test]
fn a_few_networks_together_leave_places_to_others() {
    let limits = Limits { connections: 1_024, each: 256, ..limits() };
    let connections = Connections::new(limits);
    let mut taken = Vec::new();
    let mut busy = |from: u8| {
        let before = taken.len();
        while let Some(Ok(seat)) = connections.try_seat(network(from)) {
            taken.push((seat.connection.serve(), seat));
        }
        taken.len() - before
    };
    let each: Vec<usize> = (1..8).map(&mut busy).collect();
    assert_eq!(each, [256, 256, 256, 128, 64, 32, 16]);
    // As few as these it may always have, as long as there are any.
    assert_eq!(busy(8), 16);
}

#[test]
fn a_seat_is_free_when_it_is_left() {
    let connections = Connections::new(limits());
    let seats: Vec<Seat> = (0..3).map(|_| seat(&connections, network(1))).collect();
    assert_eq!(closed(&seats).len(), 1, "the limit is two");
    drop(seats);
    let table = connections.table();
    assert!(table.open.is_empty() && table.each.is_empty() && table.closing == 0, "{table:?}");
}

/// Looks each second from now on for as long as that, and says after how many the connection is over.
fn over_after(
    place: &mut Place,
    limits: &Limits,
    seconds: u64,
    mut each: impl FnMut(&Connection),
) -> Option<u64> {
    let began = place.connection.now();
    (0..seconds).find(|second| {
        each(&place.connection);
        place.is_over(began + second * 1_000, limits)
    })
}

fn place() -> Place {
    let connection = Arc::new(Connection::new(Instant::now()));
    Place { connection, network: None, closing: false, window: (0, 0) }
}

#[test]
fn a_connection_may_idle_for_long_and_a_head_may_not() {
    let (limits, mut idle) = (Limits::for_files(5_000), place());
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
    let limits = Limits::for_files(5_000);
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
