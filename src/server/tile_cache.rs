//! Full tiles of hashes that were read lately, as they are sent.

use std::sync::Mutex;

use axum::body::Bytes;

use crate::merkle::{Tile, TileId};

/// Tiles that are kept: 16 MiB of them.
const TILES: usize = 2_048;

/// The place of many tiles, of which it keeps the last.
type Place = Mutex<Option<(TileId, Bytes)>>;

/// Full tiles, which never change. Each has one place, where it replaces what was there.
pub struct TileCache(Box<[Place]>);

impl Default for TileCache {
    fn default() -> Self {
        Self((0..TILES).map(|_| Mutex::default()).collect())
    }
}

impl TileCache {
    /// The bytes of a tile: kept ones, or those that `read` returns.
    pub fn get<E>(&self, tile: Tile, read: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        if !tile.is_full() {
            return read();
        }
        let place = self.place(tile.id).lock().expect("no panic while it is held").clone();
        if let Some((_, bytes)) = place.filter(|(id, _)| *id == tile.id) {
            return Ok(bytes);
        }
        let bytes = read()?;
        *self.place(tile.id).lock().expect("no panic while it is held") = Some((tile.id, bytes.clone()));
        Ok(bytes)
    }

    /// Neighbours in a level have different places, and so have the first tiles of different levels.
    fn place(&self, id: TileId) -> &Place {
        let number = id.index().wrapping_add(u64::from(id.level()) * 37);
        &self.0[usize::try_from(number % TILES as u64).expect("below the number of places")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(level: u8, index: u64, width: u64) -> Tile {
        Tile::new(TileId::Hashes { level, index }, width).unwrap()
    }

    /// Asks for a tile; `Err` if it is not kept.
    fn kept(cache: &TileCache, tile: Tile) -> Result<Bytes, ()> {
        cache.get(tile, || Err(()))
    }

    fn keep(cache: &TileCache, tile: Tile, bytes: &'static [u8]) {
        cache.get(tile, || Ok::<_, ()>(Bytes::from_static(bytes))).unwrap();
    }

    #[test]
    fn full_tiles_are_kept_until_another_one_takes_their_place() {
        let cache = TileCache::default();
        keep(&cache, tile(0, 7, 256), b"seven");
        keep(&cache, tile(1, 7, 256), b"above");
        assert_eq!(kept(&cache, tile(0, 7, 256)), Ok(Bytes::from_static(b"seven")));
        assert_eq!(kept(&cache, tile(1, 7, 256)), Ok(Bytes::from_static(b"above")));
        assert_eq!(kept(&cache, tile(0, 8, 256)), Err(()));
        keep(&cache, tile(0, 7 + TILES as u64, 256), b"later");
        assert_eq!(kept(&cache, tile(0, 7, 256)), Err(()));
        assert_eq!(kept(&cache, tile(0, 7 + TILES as u64, 256)), Ok(Bytes::from_static(b"later")));
    }

    /// A partial tile is the beginning of a full one, with other bytes.
    #[test]
    fn partial_tiles_are_not_kept_and_a_full_one_is_no_answer_to_them() {
        let cache = TileCache::default();
        keep(&cache, tile(0, 7, 200), b"part");
        assert_eq!(kept(&cache, tile(0, 7, 200)), Err(()));
        keep(&cache, tile(0, 7, 256), b"full");
        assert_eq!(kept(&cache, tile(0, 7, 200)), Err(()));
    }
}
