//! Commands at the master of a slot. If the node that is asked says that another one is the slot's master, or that a key
//! has already moved there, the command is sent once more, there. Such an answer says that nothing was done. Nothing is
//! sent again after an I/O error or a timeout.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue, Pipeline};
use tokio::task::JoinSet;

use super::{
    node::Node,
    scripts::Run,
    topology::{Elsewhere, Topology},
};
use crate::store::{Store, StoreError, Unanswered};

/// The place of a slot's keys: the node that is its master now.
pub(in crate::store) struct Place<'a> {
    topology: &'a Topology,
    slot: u16,
}

impl<'a> Place<'a> {
    pub(super) fn new(topology: &'a Topology, slot: u16) -> Self {
        Self { topology, slot }
    }

    /// The slot's master now.
    pub(in crate::store) fn node(&self) -> Arc<Node> {
        self.topology.of(self.slot)
    }

    /// Whether a node is the slot's master now.
    pub(in crate::store) fn is(&self, node: &Arc<Node>) -> bool {
        Arc::ptr_eq(&self.node(), node)
    }

    /// Runs one command.
    pub(in crate::store) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let node = self.node();
        let answer = node.run(command).await;
        match self.topology.elsewhere(&node, answer.as_ref().err()) {
            None => answer,
            Some(Elsewhere { node, is_for_good: true }) => Box::pin(node.run(command)).await,
            Some(Elsewhere { node, is_for_good: false }) => Box::pin(node.run_arriving(command)).await,
        }
    }

    /// Runs several commands on keys of this slot in one round trip. Each has to be safe to repeat.
    pub(in crate::store) async fn run_pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let node = self.node();
        let answer = node.run_pipeline(pipeline).await;
        match self.moved(&node, answer.as_ref().err()) {
            None => answer,
            Some(node) => Box::pin(node.run_pipeline(pipeline)).await,
        }
    }

    /// Runs a script, and loads it first if the server does not know it. While the slot moves, Redis runs no script one of
    /// whose keys is missing, neither here nor there, so the answer that keys have moved is not followed.
    pub(in crate::store) async fn run_script<T: FromRedisValue>(&self, run: &Run<'_>) -> Result<T, StoreError> {
        let node = self.node();
        let answer = node.run_script(run).await;
        match self.moved(&node, answer.as_ref().err()) {
            None => answer,
            Some(node) => Box::pin(node.run_script(run)).await,
        }
    }

    /// Runs a script that is not safe to repeat.
    pub(in crate::store) async fn run_script_once<T: FromRedisValue>(&self, run: &Run<'_>) -> Result<T, Unanswered> {
        let node = self.node();
        let answer = node.run_script_once(run).await;
        let refusal = match &answer {
            Err(Unanswered::NotDone(error)) => Some(error),
            _ => None,
        };
        match self.moved(&node, refusal) {
            None => answer,
            Some(node) => Box::pin(node.run_script_once(run)).await,
        }
    }

    /// The new master of the slot, if that is why there is an error.
    fn moved(&self, node: &Arc<Node>, error: Option<&StoreError>) -> Option<Arc<Node>> {
        self.topology.elsewhere(node, error).filter(|elsewhere| elsewhere.is_for_good).map(|elsewhere| elsewhere.node)
    }
}

/// Commands for one node, and the number of each among all.
type Numbered = (Pipeline, Vec<usize>);

impl Store {
    /// Runs commands at their places, those for one node in one round trip and the nodes side by side. They need not be
    /// safe to repeat: they are sent only on connections that serve, and the errors say whether they may have happened.
    pub(in crate::store) async fn run_each<T: FromRedisValue + Send + 'static>(
        &self,
        commands: Vec<(Place<'_>, Cmd)>,
    ) -> Vec<Result<T, Unanswered>> {
        let mut at_nodes: Vec<(Arc<Node>, Numbered)> = Vec::new();
        for (number, (place, command)) in commands.into_iter().enumerate() {
            let node = place.node();
            let known = at_nodes.iter().position(|(known, _)| Arc::ptr_eq(known, &node));
            let at = known.unwrap_or_else(|| {
                at_nodes.push((node, (Pipeline::new(), Vec::new())));
                at_nodes.len() - 1
            });
            let (pipeline, numbers) = &mut at_nodes[at].1;
            pipeline.add_command(command);
            numbers.push(number);
        }
        if let [_] = &at_nodes[..] {
            let (node, commands) = at_nodes.remove(0);
            return self.0.topology.run_at(&node, commands).await.into_iter().map(|(_, answer)| answer).collect();
        }
        let mut asking = JoinSet::new();
        for (node, commands) in at_nodes {
            let store = self.clone();
            asking.spawn(async move { store.0.topology.run_at(&node, commands).await });
        }
        let mut answers: Vec<(usize, Result<T, Unanswered>)> = asking.join_all().await.into_iter().flatten().collect();
        answers.sort_by_key(|(number, _)| *number);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }
}

impl Topology {
    /// Runs commands at a node, in one round trip. Those that belong elsewhere are run there, once.
    async fn run_at<T: FromRedisValue>(
        &self,
        node: &Arc<Node>,
        (mut pipeline, numbers): Numbered,
    ) -> Vec<(usize, Result<T, Unanswered>)> {
        let answers = match node.run_each(&mut pipeline).await {
            Ok(answers) => answers,
            Err(why) => {
                let (Unanswered::NotDone(error) | Unanswered::Unknown(error)) = &why;
                self.elsewhere(node, Some(error));
                return numbers.into_iter().map(|number| (number, Err(why.clone()))).collect();
            }
        };
        let mut answered: Vec<_> = numbers.into_iter().zip(answers).collect();
        for ((_, answer), command) in answered.iter_mut().zip(pipeline.cmd_iter()) {
            if let Err(Unanswered::NotDone(error)) = answer
                && let Some(elsewhere) = self.elsewhere(node, Some(error))
            {
                *answer = Box::pin(elsewhere.run_once(command)).await;
            }
        }
        answered
    }
}

impl Elsewhere {
    /// Runs one command that need not be safe to repeat.
    async fn run_once<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unanswered> {
        let mut pipeline = Pipeline::new();
        if !self.is_for_good {
            pipeline.cmd("ASKING").ignore();
        }
        pipeline.add_command(command.clone());
        self.node.run_each(&mut pipeline).await?.pop().expect("one answer for each command")
    }
}
