//! A disk that promises no more than POSIX: data that an fsync covered survives a power cut, and any part of the
//! later changes may.
//!
//! A file's content and the directory entry that names it are synced separately. Data reaches the disk in pages of
//! 4 KiB: whole, not at all, or torn between sectors. After a failed fsync, its pages count as clean: a later fsync
//! covers them only if they were written again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::recorder::{Files, Step};
use crate::common::random::Random;

const PAGE: u64 = 4096;
const SECTOR: usize = 512;

/// The unsynced changes that survive a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survives {
    Nothing,
    Everything,
    /// Random ones, with this seed.
    Some(u64),
}

#[derive(Debug, Clone)]
enum Change {
    /// A write within one page.
    Piece {
        offset: u64,
        bytes: Vec<u8>,
        forgotten: bool,
    },
    SetLen(u64),
}

/// A file, independent of its names.
#[derive(Debug, Clone, Default)]
struct Inode {
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Naming {
    Set(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

impl Naming {
    fn dir(&self) -> &Path {
        let (Self::Set(path, _) | Self::Rename(path, ..) | Self::Remove(path)) = self;
        path.parent().expect("a file has a directory")
    }
}

/// The disk under a directory.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    inodes: Vec<Inode>,
    /// The names that programs see.
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Naming>,
    /// Whether the name of the journal's directory is durable.
    journal: bool,
}

impl SimulatedDisk {
    /// A disk with these files, all of them durable.
    pub fn new(files: &Files) -> Self {
        let inodes = files.values().map(|bytes| Inode { durable: bytes.clone(), ..Inode::default() });
        let names: BTreeMap<PathBuf, usize> = files.keys().cloned().zip(0..).collect();
        let journal = names.keys().any(|path| path.starts_with("journal"));
        Self { inodes: inodes.collect(), durable: names.clone(), names, pending: Vec::new(), journal }
    }

    pub fn step<P>(&mut self, step: &Step<P>) {
        match step {
            Step::Create(path) => self.create(path),
            Step::Write { path, offset, bytes } => self.inode(path).write(*offset, bytes),
            Step::SetLen(path, length) => self.inode(path).pending.push(Change::SetLen(*length)),
            Step::Rename(from, to) => {
                let inode = self.names[from];
                self.name(Naming::Rename(from.clone(), to.clone(), inode));
            }
            Step::Link(from, to) => self.name(Naming::Set(to.clone(), self.names[from])),
            Step::Remove(path) => self.name(Naming::Remove(path.clone())),
            Step::Synced(path) => self.inode(path).sync(),
            Step::SyncFailed(path) => self.inode(path).forget(),
            Step::DirSynced(dir) => {
                self.journal |= dir == Path::new("");
                let pending = std::mem::take(&mut self.pending);
                let (synced, rest) = pending.into_iter().partition(|naming| naming.dir() == dir);
                self.pending = rest;
                let synced: Vec<Naming> = synced;
                synced.iter().for_each(|naming| apply(&mut self.durable, naming));
            }
            _ => {}
        }
    }

    fn create(&mut self, path: &Path) {
        if self.names.contains_key(path) {
            self.inode(path).pending.push(Change::SetLen(0));
        } else {
            self.inodes.push(Inode::default());
            self.name(Naming::Set(path.to_owned(), self.inodes.len() - 1));
        }
    }

    fn inode(&mut self, path: &Path) -> &mut Inode {
        &mut self.inodes[self.names[path]]
    }

    fn name(&mut self, naming: Naming) {
        apply(&mut self.names, &naming);
        self.pending.push(naming);
    }

    /// The files that a power cut leaves at this moment.
    pub fn cut(&self, survives: Survives) -> Files {
        let mut random = Random(if let Survives::Some(seed) = survives { seed } else { 0 });
        let keep = |random: &mut Random| match survives {
            Survives::Nothing => false,
            Survives::Everything => true,
            Survives::Some(_) => random.one_in(2),
        };
        let mut names = self.durable.clone();
        for naming in &self.pending {
            if keep(&mut random) {
                apply(&mut names, naming);
            }
        }
        if !self.journal && !keep(&mut random) {
            names.retain(|path, _| !path.starts_with("journal"));
        }
        names.into_iter().map(|(path, inode)| (path, self.inodes[inode].cut(survives, &mut random))).collect()
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, naming: &Naming) {
    match naming {
        Naming::Set(path, inode) => drop(names.insert(path.clone(), *inode)),
        Naming::Rename(from, to, inode) => {
            names.remove(from);
            names.insert(to.clone(), *inode);
        }
        Naming::Remove(path) => drop(names.remove(path)),
    }
}

impl Inode {
    fn write(&mut self, mut offset: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(PAGE - offset % PAGE).expect("a page");
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            self.pending.push(Change::Piece { offset, bytes: piece.to_vec(), forgotten: false });
            offset += piece.len() as u64;
            bytes = rest;
        }
    }

    fn forget(&mut self) {
        for change in &mut self.pending {
            if let Change::Piece { forgotten, .. } = change {
                *forgotten = true;
            }
        }
    }

    /// Makes pending changes durable. A forgotten piece stays pending, unless its page was written again, which writes
    /// it too, or truncated.
    fn sync(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let mut length = self.durable.len() as u64;
        for (at, change) in pending.iter().enumerate() {
            let owed = match change {
                Change::Piece { offset, forgotten: true, .. } => {
                    !pending[at + 1..].iter().any(|later| match later {
                        Change::Piece { offset: other, forgotten, .. } => {
                            !forgotten && other / PAGE == offset / PAGE
                        }
                        Change::SetLen(length) => length <= offset,
                    })
                }
                _ => false,
            };
            length = change.length(length);
            if owed {
                self.pending.push(change.clone());
            } else {
                put(&mut self.durable, change);
            }
        }
        // The length is in the inode, which is not forgotten.
        resize(&mut self.durable, length);
    }

    fn cut(&self, survives: Survives, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mut length = bytes.len() as u64;
        for change in &self.pending {
            length = change.length(length);
            match survives {
                Survives::Nothing => {}
                Survives::Everything => put(&mut bytes, change),
                Survives::Some(_) => match random.below(10) {
                    0..5 => put(&mut bytes, change),
                    5..8 => {}
                    _ => put(&mut bytes, &change.torn(random)),
                },
            }
        }
        // The length may be ahead of the data or behind it, anywhere from the synced length on.
        if let Survives::Some(_) = survives {
            let seen = bytes.len() as u64;
            let cut_to = self.pending.iter().filter_map(|change| match change {
                Change::SetLen(length) => Some(*length),
                Change::Piece { .. } => None,
            });
            let (least, most) = (cut_to.fold(self.durable.len() as u64, u64::min), length.max(seen));
            match random.below(4) {
                0 => resize(&mut bytes, least + random.below(most - least + 1)),
                1 if length > seen => resize(&mut bytes, length),
                _ => {}
            }
        }
        bytes
    }
}

impl Change {
    /// The file's length after the change.
    fn length(&self, before: u64) -> u64 {
        match self {
            Self::SetLen(length) => *length,
            Self::Piece { offset, bytes, .. } => before.max(offset + bytes.len() as u64),
        }
    }

    /// The change with only some of its sectors.
    fn torn(&self, random: &mut Random) -> Self {
        let Self::Piece { offset, bytes, forgotten } = self else { return self.clone() };
        let mut begin = *offset;
        let mut end = begin + bytes.len() as u64;
        // Keep the front or the back, up to a sector's boundary.
        let sector = SECTOR as u64;
        let tear = (begin / sector + random.below(8)) * sector;
        if random.one_in(2) {
            end = end.min(tear.max(begin));
        } else {
            begin = begin.max(tear.min(end));
        }
        let at = |place: u64| usize::try_from(place - offset).expect("within it");
        Self::Piece { offset: begin, bytes: bytes[at(begin)..at(end)].to_vec(), forgotten: *forgotten }
    }
}

fn put(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::SetLen(length) => resize(content, *length),
        Change::Piece { bytes, .. } if bytes.is_empty() => {}
        Change::Piece { offset, bytes, .. } => {
            let begin = usize::try_from(*offset).expect("small files");
            let end = begin + bytes.len();
            content.resize(content.len().max(end), 0);
            content[begin..end].copy_from_slice(bytes);
        }
    }
}

fn resize(content: &mut Vec<u8>, length: u64) {
    content.resize(usize::try_from(length).expect("small files"), 0);
}
