//! Tree heads.

use treehead::checkpoint::policy::{Policy, QuorumError, WitnessedBy};
use treehead::checkpoint::{self, Checkpoint, LogSigned};
use treehead::endpoint::Refusal;

use crate::args::{self, Sized1};
use crate::fail::{Done, Fail, th_status};
use crate::object::Handle as _;
use crate::text::{status, th_text};
use crate::trust::th_trust;

/// A tree head.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct th_head {
    /// sizeof(th_head).
    pub struct_size: usize,
    /// Out: a TH_REASON number, 0 if a trusted log signed it and a quorum cosigned it.
    pub reason: u32,
    /// Out: 1 if a trusted log signed it: then all that follows is filled.
    pub is_signed: i32,
    /// Out: the number of leaves.
    pub size: u64,
    /// Out: the root of the tree.
    pub root: [u8; 32],
    /// Out: the newest cosignature, in seconds since 1970; 0 if there is none.
    pub cosigned: u64,
    /// Why it is refused, in words.
    pub message: th_text,
    /// The log.
    pub origin: th_text,
    /// The witnesses that cosigned, a line each: seconds since 1970, a space, the name.
    pub witnesses: th_text,
    /// The quorum rule in words.
    pub quorum: th_text,
    /// The witnesses that are missing, in words.
    pub missing: th_text,
}

// SAFETY: it is repr(C), begins with the size, and zeroes are numbers and NULL.
unsafe impl Sized1 for th_head {
    const FIRST_SIZE: usize = size_of::<Self>();
}

/// A checkpoint that one of the policy's logs signed.
pub(crate) fn open(policy: &Policy, note: &[u8]) -> Result<LogSigned<Checkpoint>, Refusal> {
    checkpoint::open(note, policy.logs()).map_err(Refusal::Checkpoint)
}

/// Opens a checkpoint, which is a signed note. TH_REFUSED unless a trusted log signed it and a quorum cosigned it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn th_checkpoint_open(
    trust: *const th_trust,
    note: *const u8,
    length: usize,
    head: *mut th_head,
) -> th_status {
    status((|| {
        let policy = th_trust::get(trust)?.get().policy;
        let note = args::bytes(note, length)?;
        let mut out = args::read(head)?;
        let result = match open(policy, note) {
            Ok(signed) => out.fill(policy, &signed),
            Err(refusal) => Err(refusal.into()),
        };
        out.reason = result.as_ref().err().map_or(0, |fail: &Fail| fail.reason);
        out.message.fill(result.as_ref().err().map_or("", |fail| fail.message.as_str()))?;
        args::write(head, &out)?;
        result
    })())
}

impl th_head {
    unsafe fn fill(&mut self, policy: &Policy, signed: &LogSigned<Checkpoint>) -> Done {
        let head = signed.get();
        let witnesses = policy.witnesses_of(signed);
        (self.is_signed, self.size, self.root) = (1, head.size.get(), *head.root.as_bytes());
        self.cosigned = witnesses.iter().map(|by| by.time).max().unwrap_or(0);
        self.origin.fill(head.origin.as_str())?;
        let line = |WitnessedBy { cosigner, time, .. }: &WitnessedBy| alloc::format!("{time} {cosigner}");
        self.witnesses.fill_lines(witnesses.iter().map(line))?;
        self.quorum.fill(&policy.quorum_in_words())?;
        let refused = policy.check(signed).err();
        let missing = match &refused {
            Some(QuorumError::NotReached { missing, .. }) => missing.as_str(),
            _ => "",
        };
        self.missing.fill(missing)?;
        refused.map_or(Ok(()), |refusal| Err(Refusal::Quorum(refusal).into()))
    }
}
