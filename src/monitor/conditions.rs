//! What lasts: told when it begins, and when it ends.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::delivery::{Delivery, DeliveryError};
use super::event::{Code, Event, EventId};

/// The conditions of one log that hold now.
pub struct Conditions {
    delivery: Arc<Delivery>,
    /// By code, and what it is about: a witness, a peer, a release.
    open: BTreeMap<(Code, String), EventId>,
    /// Those that could not be told, or not be noted. Somebody may have them already: they are told again as they
    /// are, whatever the time is by then.
    untold: BTreeMap<(Code, String), Event>,
}

impl Conditions {
    /// Those that held when the monitor was last stopped, as the desk remembers them.
    pub fn of(delivery: Arc<Delivery>, origin: &str) -> Self {
        let open = delivery.open_conditions(usize::MAX);
        let of_log = open.into_iter().filter(|condition| condition.log.as_deref() == Some(origin));
        let open = of_log
            .filter_map(|condition| Some(((Code::parse(&condition.code)?, condition.about?), condition.id)))
            .collect();
        Self { delivery, open, untold: BTreeMap::new() }
    }

    /// Whether it holds.
    pub fn holds(&self, code: Code, about: &str) -> bool {
        self.open.contains_key(&(code, about.to_owned()))
    }

    /// It holds. Told once, however often this is said; `event` is asked for only then.
    pub fn begin(
        &mut self,
        code: Code,
        about: &str,
        event: impl FnOnce() -> Event,
    ) -> Result<(), DeliveryError> {
        if self.holds(code, about) {
            return Ok(());
        }
        self.tell(vec![((code, about.to_owned()), event().with("about", about))])
    }

    /// Several of one code hold. Those that are new are told together.
    pub fn begin_all(&mut self, code: Code, events: Vec<(String, Event)>) -> Result<(), DeliveryError> {
        let new = events.into_iter().filter(|(about, _)| !self.holds(code, about));
        let named = |(about, event): (String, Event)| ((code, about.clone()), event.with("about", about));
        let new: Vec<_> = new.map(named).collect();
        if new.is_empty() { Ok(()) } else { self.tell(new) }
    }

    fn tell(&mut self, mut new: Vec<((Code, String), Event)>) -> Result<(), DeliveryError> {
        for (key, event) in &mut new {
            if let Some(untold) = self.untold.remove(key) {
                *event = untold;
            }
        }
        let events: Vec<Event> = new.iter().map(|(_, event)| event.clone()).collect();
        if let Err(error) = self.delivery.tell(&events) {
            self.untold.extend(new);
            return Err(error);
        }
        self.open.extend(new.into_iter().map(|(key, event)| (key, event.id)));
        Ok(())
    }

    /// It does not hold any more.
    pub fn end(&mut self, code: Code, about: &str, message: &str) -> Result<(), DeliveryError> {
        let key = (code, about.to_owned());
        let id = self.open.get(&key).copied().or_else(|| self.untold.get(&key).map(|event| event.id));
        if let Some(id) = id {
            self.delivery.end(id, message)?;
            self.open.remove(&key);
            self.untold.remove(&key);
        }
        Ok(())
    }

    /// Those of a code hold no more, but for these.
    pub fn end_others(&mut self, code: Code, but: &[String], message: &str) -> Result<(), DeliveryError> {
        let but: HashSet<&String> = but.iter().collect();
        let is_over = |open: Code, about: &String| open == code && !but.contains(about);
        let untold = self.untold.iter().map(|(key, event)| (key, &event.id));
        let over = self.open.iter().chain(untold).filter(|((open, about), _)| is_over(*open, about));
        let over: Vec<EventId> = over.map(|(_, id)| *id).collect();
        if over.is_empty() {
            return Ok(());
        }
        self.delivery.end_all(&over, message)?;
        self.open.retain(|(open, about), _| !is_over(*open, about));
        self.untold.retain(|(open, about), _| !is_over(*open, about));
        Ok(())
    }
}
