//! `/checkpoint` and `/tile/...`: c2sp.org/tlog-tiles, read as a stranger would.

use treehead::merkle::{Hash, Tile, TileId, TreeSize, tiles_of};
use treehead::proof::bundle;
use treehead::server::Profile;

use crate::common::http::{exchange, request};
use crate::common::log::{ORIGIN, Served, leaf_hashes, never_publishing, numbered, root_of};

const IMMUTABLE: &str = "public, max-age=31536000, immutable";

#[test]
fn the_checkpoint_is_signed_and_never_cached() {
    let log = Served::opaque();
    let reply = log.get("/checkpoint");
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    let empty = log.head();
    assert_eq!((empty.size, empty.root), (TreeSize::ZERO, Hash::EMPTY_ROOT), "an empty log has a head too");
    assert!(reply.text().starts_with(&format!("{ORIGIN}\n0\n")));
    log.add_all(&numbered(5));
    let head = log.head();
    assert_eq!((head.size.get(), head.root), (5, root_of(&leaf_hashes(&numbered(5)))));
    // Another log's key does not verify the checkpoint.
    let stranger = treehead::note::NoteSigner::from_seed(
        treehead::note::KeyName::new(ORIGIN).unwrap(),
        treehead::note::SignatureType::Ed25519,
        &[1; 32],
    );
    let note = log.get("/checkpoint").body;
    assert!(treehead::checkpoint::open(&note, &[stranger.public().clone()]).is_err());
}

#[test]
fn every_entry_re_hashes_to_its_tile_and_the_tiles_to_the_root() {
    let log = Served::opaque();
    let entries = numbered(256 * 3 + 44);
    log.add_all(&entries);
    let head = log.head();
    let mut leaves = Vec::new();
    let mut fetched = 0;
    for tile in tiles_of(head.size) {
        let reply = log.get(&format!("/{tile}"));
        assert_eq!(reply.status, 200, "{tile}");
        assert_eq!(reply.header("content-type"), Some("application/octet-stream"));
        assert_eq!(reply.header("cache-control"), Some(IMMUTABLE));
        fetched += 1;
        match tile.id {
            TileId::Hashes { level: 0, index } => {
                let first = usize::try_from(index).unwrap() * 256;
                let expected: Vec<u8> = leaf_hashes(&entries[first..first + tile.width()])
                    .iter()
                    .flat_map(|hash| *hash.as_bytes())
                    .collect();
                assert_eq!(reply.body, expected, "{tile}");
            }
            TileId::Hashes { level, .. } => {
                assert_eq!(level, 1);
                let roots: Vec<u8> = leaf_hashes(&entries)
                    .chunks_exact(256)
                    .flat_map(|leaves| *root_of(leaves).as_bytes())
                    .collect();
                assert_eq!(reply.body, roots);
            }
            TileId::Entries { .. } => {
                let split = bundle::split(&reply.body, 256).unwrap();
                assert_eq!(split.len(), tile.width());
                leaves.extend(split.into_iter().map(Hash::leaf));
            }
        }
    }
    assert_eq!(fetched, 4 + 1 + 4);
    assert_eq!(root_of(&leaves), head.root);
}

#[test]
fn a_partial_tile_is_the_beginning_of_the_full_one_at_every_width() {
    let log = Served::opaque();
    log.add_all(&numbered(300));
    let full = log.get("/tile/0/000").body;
    assert_eq!(full.len(), 256 * 32);
    let bundle = log.get("/tile/entries/000").body;
    let mut longer = 0;
    for width in (1..=255).step_by(11) {
        assert_eq!(log.get(&format!("/tile/0/000.p/{width}")).body, full[..width * 32]);
        let part = log.get(&format!("/tile/entries/000.p/{width}")).body;
        assert!(bundle.starts_with(&part) && part.len() > longer);
        longer = part.len();
        assert_eq!(bundle::split(&part, 256).unwrap().len(), width);
    }
    let last = log.get("/tile/0/001.p/44").body;
    for width in 1..=44 {
        assert_eq!(log.get(&format!("/tile/0/001.p/{width}")).body, last[..width * 32]);
        assert_eq!(log.get(&format!("/tile/entries/001.p/{width}")).status, 200);
    }
}

#[test]
fn a_tile_beyond_the_tree_is_404_until_the_tree_has_it() {
    let log = Served::opaque();
    log.add_all(&numbered(300));
    for path in [
        "tile/0/001",
        "tile/0/001.p/45",
        "tile/0/002.p/1",
        "tile/1/000",
        "tile/1/000.p/2",
        "tile/1/001.p/1",
        "tile/2/000.p/1",
        "tile/63/000",
        "tile/0/x999/x999/999",
        "tile/entries/001",
        "tile/entries/001.p/45",
        "tile/entries/002.p/1",
        "tile/entries/x123/456",
    ] {
        let detail = log.get(&format!("/{path}")).problem(404, "not-found");
        assert!(detail.contains("at tree size 300"), "{path}: {detail}");
    }
    log.post("/add", b"one more");
    assert_eq!(log.get("/tile/0/001.p/45").body.len(), 45 * 32);
}

#[test]
fn a_tile_has_one_spelling() {
    let log = Served::opaque();
    log.add_all(&numbered(300));
    let numbers = [
        "0",
        "00",
        "0000",
        "000/",
        "x000",
        "x000/000",
        "x000/x000/000",
        "001/000",
        "x1/000",
        "X001/000",
        "x001/x000",
        "-01",
        "+00",
        "00a",
        "0x0",
        "%30%30%30",
        "000%2Ep/1",
        "000.p",
        "000.p/",
        "000.p/0",
        "000.p/00",
        "000.p/01",
        "000.p/256",
        "000.p/+1",
        "000.p/1/",
        "000.p/1.p/1",
        "000.P/1",
        "000.q/1",
        "000.p/x",
        "x999/x999/x999/x999/x999/x999/x999/999",
        "/000",
    ];
    for number in numbers {
        for kind in ["0", "entries"] {
            let detail = log.get(&format!("/tile/{kind}/{number}")).problem(400, "malformed");
            assert!(detail.contains("a tile path is malformed"), "{kind} {number}: {detail}");
        }
    }
    for kind in
        ["00", "01", "64", "100", "-1", "+0", "a", "Entries", "entry", "%30", "0.0", "18446744073709551616"]
    {
        log.get(&format!("/tile/{kind}/000")).problem(400, "malformed");
    }
    let query = log.get("/tile/0/000?x=1");
    assert_eq!(query.status, 200, "a query names no other tile");
}

#[test]
fn bundles_are_compressed_for_those_who_ask_and_for_nobody_else() {
    let log = Served::opaque();
    let entries: Vec<Vec<u8>> = (0..256).map(|at| format!("{at:0500}").into_bytes()).collect();
    log.add_all(&entries);
    let plain = log.get("/tile/entries/000");
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(bundle::split(&plain.body, 256).unwrap(), entries);
    let asked = |encoding: &str| {
        exchange(log.address, &request("GET", "/tile/entries/000", &[("Accept-Encoding", encoding)], b""))
    };
    let packed = asked("gzip");
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert!(packed.body.starts_with(&[0x1f, 0x8b]) && packed.body.len() * 10 < plain.body.len());
    // Both encodings are immutable under one address, so `Vary` must tell caches apart.
    for reply in [&plain, &packed] {
        assert_eq!(reply.header("cache-control"), Some(IMMUTABLE));
        assert!(reply.header("vary").is_some_and(|v| v.eq_ignore_ascii_case("accept-encoding")), "{reply}");
    }
    for encoding in ["identity", "br", "gzip;q=0", "deflate, zstd"] {
        let reply = asked(encoding);
        assert_eq!((reply.header("content-encoding"), &reply.body), (None, &plain.body), "{encoding}");
    }
    // Another gzip implementation yields the same bytes.
    let client = treehead::client::LogClient::new(&format!("http://{}", log.address)).unwrap();
    assert_eq!(client.get("tile/entries/000", 1 << 20).unwrap(), plain.body);
    // Hashes do not compress.
    let bytes = request("GET", "/tile/0/000", &[("Accept-Encoding", "gzip")], b"");
    assert_eq!(exchange(log.address, &bytes).header("content-encoding"), None);
}

#[test]
fn nothing_is_shown_that_is_not_signed() {
    let log = Served::opaque_with(never_publishing());
    assert_eq!(log.post("/add?wait=sequenced", b"an entry").text(), "0");
    let leaf = Hash::leaf(b"an entry").to_hex();
    for path in [
        "/tile/0/000.p/1".to_owned(),
        "/tile/entries/000.p/1".to_owned(),
        "/proof/inclusion/1/0".to_owned(),
        "/proof/consistency/0/1".to_owned(),
        format!("/proof/leaf/{leaf}"),
    ] {
        log.get(&path).problem(404, "not-found");
    }
    assert_eq!((log.tree_size(), log.head().size.get()), (1, 0));
}

#[test]
fn a_tree_of_a_log_is_the_same_however_its_entries_arrived() {
    let temp = tempfile::tempdir().unwrap();
    let entries = numbered(600);
    let mut roots = Vec::new();
    for chunk in [600, 256, 100, 37] {
        let dir = temp.path().join(chunk.to_string());
        let log = Served::start(&dir, Profile::Opaque, crate::common::log::quick());
        entries.chunks(chunk).for_each(|some| log.add_all(some));
        roots.push(log.head().root);
        let tile = Tile::new(TileId::Hashes { level: 1, index: 0 }, 2).unwrap();
        assert_eq!(log.get(&format!("/{tile}")).body.len(), 64);
    }
    assert_eq!(roots, vec![root_of(&leaf_hashes(&entries)); 4]);
}
