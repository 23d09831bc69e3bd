//! A breadth-first search of all histories within bounds.
//!
//! It is our own, in a hundred lines, instead of the crate `stateright`. That crate brings a web server and a second
//! `rand` that no feature turns off, compares states by a 64-bit digest, and would walk to the end again from every
//! state to find stuck ones. Here states are compared whole, the first counterexample is the shortest, and the path to
//! the end is shared: each state has one step that it takes when there are no more faults.

use std::{collections::HashMap, fmt, rc::Rc};

use crate::{
    actions::{Action, after},
    bounds::Bounds,
    invariants::{broken, is_ended},
    possible::possible,
    protocol::Protocol,
    state::State,
};

/// The most states that a search visits.
const STATES_MAX: usize = 20_000_000;

/// The result of a search.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) transitions: usize,
    /// Steps on the shortest path to the most distant state.
    pub(crate) depth: usize,
    pub(crate) counterexample: Option<Counterexample>,
}

/// The shortest history that breaks an invariant.
#[derive(Debug)]
pub(crate) struct Counterexample {
    pub(crate) broken: String,
    pub(crate) history: Vec<Action>,
    pub(crate) state: State,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, transitions, depth, counterexample } = self;
        write!(f, "{states} states, {transitions} transitions, depth {depth}")?;
        let Some(Counterexample { broken, history, state }) = counterexample else { return write!(f, ": all hold") };
        writeln!(f, ": {broken}")?;
        for (number, action) in (1..).zip(history) {
            writeln!(f, "{number:3}. {action:?}")?;
        }
        write!(f, "     {state:?}")
    }
}

/// A state, how it was first reached, and the next state if there are no more faults.
struct Visited {
    state: Rc<State>,
    from: u32,
    by: Action,
    depth: u32,
    onward: Option<u32>,
}

struct Search {
    protocol: Protocol,
    bounds: Bounds,
    numbers: HashMap<Rc<State>, u32>,
    visited: Vec<Visited>,
    transitions: usize,
}

/// Searches everything within bounds, or until the first counterexample.
pub(crate) fn search(protocol: Protocol, bounds: Bounds) -> Found {
    let mut search = Search { protocol, bounds, numbers: HashMap::new(), visited: Vec::new(), transitions: 0 };
    search.visit(State::new(bounds.workers, bounds.webhooks), 0, Action::Accept, 0);
    let mut at = 0;
    let mut wrong = None;
    while at < search.visited.len() && wrong.is_none() {
        assert!(at < STATES_MAX, "more than {STATES_MAX} states: make the bounds smaller");
        wrong = broken(&search.visited[at].state).map(|broken| (at, broken));
        search.expand(at);
        at += 1;
    }
    let wrong = wrong.or_else(|| search.stuck());
    Found {
        states: search.visited.len(),
        transitions: search.transitions,
        depth: search.visited.last().map_or(0, |last| last.depth as usize),
        counterexample: wrong.map(|(at, broken)| search.counterexample(at, broken)),
    }
}

impl Search {
    /// Records a state, unless it is known. Answers its number.
    fn visit(&mut self, state: State, from: u32, by: Action, depth: u32) -> u32 {
        if let Some(number) = self.numbers.get(&state) {
            return *number;
        }
        let number = u32::try_from(self.visited.len()).expect("bounded");
        let state = Rc::new(state);
        self.numbers.insert(state.clone(), number);
        self.visited.push(Visited { state, from, by, depth, onward: None });
        number
    }

    fn expand(&mut self, at: usize) {
        let (state, depth) = (self.visited[at].state.clone(), self.visited[at].depth);
        let number = u32::try_from(at).expect("bounded");
        for action in possible(&state, &self.bounds) {
            let next = self.visit(after(self.protocol, &state, action).canonical().0, number, action, depth + 1);
            self.transitions += 1;
            let leads_on = next != number && action.is_progress(&state);
            let onward = &mut self.visited[at].onward;
            *onward = onward.or(leads_on.then_some(next));
        }
    }

    /// A state from which, without more faults, some work never ends: progress leads round in a circle, or no progress
    /// is possible.
    fn stuck(&self) -> Option<(usize, String)> {
        let mut ends: Vec<bool> = self.visited.iter().map(|v| v.onward.is_none() && is_ended(&v.state)).collect();
        for start in 0..self.visited.len() {
            let mut way = vec![start];
            while let Some(onward) = self.visited[*way.last().expect("not empty")].onward {
                let onward = onward as usize;
                if ends[onward] || ends[start] {
                    break;
                }
                // Longer than any path to the end, so it is a circle.
                if way.len() > 500 {
                    return Some((start, "progress never ends".to_owned()));
                }
                way.push(onward);
            }
            let last = *way.last().expect("not empty");
            if self.visited[last].onward.is_none() && !ends[last] {
                return Some((last, "no progress is possible, and not everything has ended".to_owned()));
            }
            for at in way {
                ends[at] = true;
            }
        }
        None
    }

    fn counterexample(&self, at: usize, broken: String) -> Counterexample {
        let (mut history, mut back) = (Vec::new(), at);
        while back != 0 {
            history.push(self.visited[back].by);
            back = self.visited[back].from as usize;
        }
        history.reverse();
        // Each worker has the one name that it had at the beginning, even if workers changed places on the way.
        let mut state = State::new(self.bounds.workers, self.bounds.webhooks);
        let mut named_anew = false;
        for action in &mut history {
            let (next, swapped) = after(self.protocol, &state, *action).canonical();
            if let Some(worker) = action.worker_mut().filter(|_| named_anew) {
                *worker = 1 - *worker;
            }
            (state, named_anew) = (next, named_anew ^ swapped);
        }
        Counterexample { broken, history, state: (*self.visited[at].state).clone() }
    }
}
