//! In which order cells are measured: every replicate visits every cell once, models and cells
//! shuffled anew in each, so that no drift of the machine falls on one cell only.

use std::collections::HashSet;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::plan::{Case, LoadKey, Plan};

/// One worker process's share: cells of one loaded model in one replicate.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The replicate, from 0.
    pub replicate: u32,
    /// The model and how it is loaded.
    pub load: LoadKey,
    /// The cells, in the order of their visits.
    pub cases: Vec<Case>,
}

/// The plan's groups in order. `left_out` names the cells that are not visited in a replicate: those
/// that do not fit, and those that a resumed run has already.
pub fn groups(plan: &Plan, left_out: impl Fn(&Case, u32) -> bool) -> Vec<Group> {
    let mut groups = Vec::new();
    for replicate in 0..plan.protocol.replicates {
        let mut rng = ChaCha8Rng::seed_from_u64(plan.protocol.seed);
        rng.set_stream(u64::from(replicate));
        let mut seen = HashSet::new();
        let mut keys: Vec<LoadKey> = plan.cases.iter().map(Case::load_key).collect();
        keys.retain(|key| seen.insert(key.clone()));
        keys.shuffle(&mut rng);
        for load in keys {
            let mut cases: Vec<Case> = plan
                .cases
                .iter()
                .filter(|c| c.load_key() == load)
                .cloned()
                .collect();
            // Shuffled before filtering: a resumed run keeps the order of the first.
            cases.shuffle(&mut rng);
            cases.retain(|c| !left_out(c, replicate));
            if !cases.is_empty() {
                groups.push(Group {
                    replicate,
                    load,
                    cases,
                });
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Protocol;
    use crate::plan::expand::{Axes, Host, cases};

    fn plan(seed: u64) -> Plan {
        let axes = Axes {
            n_seq: Some(vec![1, 2, 4, 8, 16]),
            n_gpu_layers: Some(vec![0, 9]),
            ..Axes::default()
        };
        let host = Host {
            n_threads: 1,
            n_gpu_layers: 0,
        };
        Plan {
            name: "t".into(),
            protocol: Protocol {
                seed,
                ..Protocol::default()
            },
            models: Vec::new(),
            cases: cases(&axes, &["a".into(), "b".into()], &[], host).expect("valid"),
        }
    }

    #[test]
    fn every_replicate_visits_every_cell_once_in_its_own_order() {
        let plan = plan(1);
        let groups = groups(&plan, |_, _| false);
        for replicate in 0..3 {
            let mut ids: Vec<_> = groups
                .iter()
                .filter(|g| g.replicate == replicate)
                .flat_map(|g| {
                    assert!(g.cases.iter().all(|c| c.load_key() == g.load));
                    g.cases.iter().map(|c| c.id().to_string())
                })
                .collect();
            ids.sort();
            let mut all: Vec<_> = plan.cases.iter().map(|c| c.id().to_string()).collect();
            all.sort();
            assert_eq!(ids, all);
        }
        let order = |r| -> Vec<_> {
            groups
                .iter()
                .filter(|g| g.replicate == r)
                .flat_map(|g| g.cases.iter().map(Case::id))
                .collect()
        };
        assert_ne!(order(0), order(1));
    }

    #[test]
    fn the_order_is_the_seeds_and_survives_leaving_out() {
        let whole = groups(&plan(1), |_, _| false);
        assert_eq!(whole, groups(&plan(1), |_, _| false));
        assert_ne!(whole, groups(&plan(2), |_, _| false));
        let without = groups(&plan(1), |c, r| c.n_seq == 4 && r == 0);
        let kept: Vec<_> = whole[0].cases.iter().filter(|c| c.n_seq != 4).collect();
        assert_eq!(without[0].cases.iter().collect::<Vec<_>>(), kept);
        assert_eq!(whole[4..], without[4..]);
    }
}
