//! In which order cells are measured: every replicate visits every cell once, models and cells
//! shuffled anew in each, so that no drift of the machine falls on one cell only.

use std::collections::HashSet;

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::plan::{Case, LoadKey, Plan};

/// One worker process's share: cells of one loaded model in one replicate, and in each lane.
#[derive(Debug, Clone, PartialEq)]
pub struct CellGroup {
    /// The replicate, from 0.
    pub replicate: u32,
    /// Each lane's model and how it is loaded.
    pub loads: Vec<LoadKey>,
    /// The cells, in the order of their visits.
    pub cells: Vec<Cell>,
}

/// A cell as each lane has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// A case of each lane's plan.
    pub cases: Vec<Case>,
    /// The turn with which a visit begins: 0 is the first lane's, 1 the last one's.
    pub first_turn: u32,
}

/// Streams of the seed's random numbers from here on are for who begins, those below for the order of cells.
const FIRST_TURNS: u64 = 1 << 32;

impl Cell {
    fn loads(&self) -> Vec<LoadKey> {
        self.cases.iter().map(Case::load_key).collect()
    }
}

/// The groups of a replicate in order, for plans whose cases belong together one for one. `left_out` names the cells
/// that are not visited: those that do not fit, and those that a resumed run has already.
pub fn groups(plans: &[&Plan], replicate: u32, left_out: impl Fn(&Cell) -> bool) -> Vec<CellGroup> {
    let Some(first) = plans.first() else {
        return Vec::new();
    };
    let mut coins = ChaCha8Rng::seed_from_u64(first.protocol.seed);
    coins.set_stream(FIRST_TURNS + u64::from(replicate));
    // The sequential test needs an order within each pair that is independent of everything else.
    let is_random = first.protocol.pair_tolerance.is_some();
    let cell = |at: usize| Cell {
        cases: plans.iter().map(|plan| plan.cases[at].clone()).collect(),
        first_turn: if is_random {
            u32::from(coins.random_bool(0.5))
        } else {
            replicate
        },
    };
    let all: Vec<Cell> = (0..first.cases.len()).map(cell).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(first.protocol.seed);
    rng.set_stream(u64::from(replicate));
    let mut seen = HashSet::new();
    let mut keys: Vec<Vec<LoadKey>> = all.iter().map(Cell::loads).collect();
    keys.retain(|key| seen.insert(key.clone()));
    keys.shuffle(&mut rng);
    let mut groups = Vec::new();
    for loads in keys {
        let of_these = |cell: &&Cell| cell.loads() == loads;
        let mut cells: Vec<Cell> = all.iter().filter(of_these).cloned().collect();
        // Shuffled before filtering: a resumed run keeps the order of the first.
        cells.shuffle(&mut rng);
        cells.retain(|cell| !left_out(cell));
        if !cells.is_empty() {
            groups.push(CellGroup {
                replicate,
                loads,
                cells,
            });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Protocol;
    use crate::plan::expand::{Axes, cases};
    use crate::plan::fixture::HOST;

    fn plan(seed: u64, models: [&str; 2]) -> Plan {
        let axes = Axes {
            n_seq: Some(vec![1, 2, 4, 8, 16]),
            n_gpu_layers: Some(vec![0, 9]),
            ..Axes::default()
        };
        Plan {
            name: "t".into(),
            protocol: Protocol {
                seed,
                ..Protocol::default()
            },
            models: Vec::new(),
            cases: cases(&axes, &models.map(str::to_owned), &[], HOST).expect("valid"),
        }
    }

    fn all(plan: &Plan, replicate: u32) -> Vec<CellGroup> {
        groups(&[plan], replicate, |_| false)
    }

    #[test]
    fn every_replicate_visits_every_cell_once_in_its_own_order() {
        let plan = plan(1, ["a", "b"]);
        let ids = |replicate| -> Vec<String> {
            let groups = all(&plan, replicate);
            let cells = groups.iter().flat_map(|g| {
                assert!(g.cells.iter().all(|c| c.loads() == g.loads));
                &g.cells
            });
            cells.map(|c| c.cases[0].id().to_string()).collect()
        };
        let mut planned: Vec<_> = plan.cases.iter().map(|c| c.id().to_string()).collect();
        planned.sort();
        for replicate in 0..3 {
            let mut visited = ids(replicate);
            visited.sort();
            assert_eq!(visited, planned);
        }
        assert_ne!(ids(0), ids(1));
    }

    #[test]
    fn the_order_is_the_seeds_and_survives_leaving_out() {
        let whole = all(&plan(1, ["a", "b"]), 0);
        assert_eq!(whole, all(&plan(1, ["a", "b"]), 0));
        assert_ne!(whole, all(&plan(2, ["a", "b"]), 0));
        let plan = plan(1, ["a", "b"]);
        let without = groups(&[&plan], 0, |c| c.cases[0].n_seq == 4);
        let kept: Vec<_> = whole[0]
            .cells
            .iter()
            .filter(|c| c.cases[0].n_seq != 4)
            .collect();
        assert_eq!(without[0].cells.iter().collect::<Vec<_>>(), kept);
        assert_eq!(whole.len(), without.len());
    }

    #[test]
    fn who_begins_a_pair_is_random_where_pairs_are_added_until_decided() {
        let mut plan = plan(1, ["a", "b"]);
        let first_turns = |plan: &Plan, replicate| -> Vec<u32> {
            let groups = all(plan, replicate);
            let cells = groups.iter().flat_map(|g| &g.cells);
            cells.map(|c| c.first_turn).collect()
        };
        assert!(first_turns(&plan, 3).iter().all(|turn| *turn == 3));
        let order = |plan: &Plan| -> Vec<Vec<Case>> {
            let groups = all(plan, 3);
            let cells = groups.iter().flat_map(|g| &g.cells);
            cells.map(|c| c.cases.clone()).collect()
        };
        let before = order(&plan);
        plan.protocol.pair_tolerance = Some(0.02);
        assert_eq!(order(&plan), before, "the order of cells stays");
        let of_all: Vec<u32> = (0..20).flat_map(|r| first_turns(&plan, r)).collect();
        let n_second = of_all.iter().filter(|turn| **turn == 1).count();
        assert!((150..250).contains(&n_second), "{n_second} of 400");
        assert_eq!(first_turns(&plan, 3), first_turns(&plan, 3));
        assert_ne!(first_turns(&plan, 3), first_turns(&plan, 4));
    }

    #[test]
    fn lanes_stay_side_by_side() {
        let (a, b) = (plan(1, ["a", "b"]), plan(1, ["x", "y"]));
        for group in groups(&[&a, &b], 0, |_| false) {
            for cell in &group.cells {
                let [left, right] = &cell.cases[..] else {
                    panic!("two lanes")
                };
                assert_eq!(
                    (left.n_seq, left.n_gpu_layers),
                    (right.n_seq, right.n_gpu_layers)
                );
                assert_eq!(left.model == "a", right.model == "x");
            }
        }
    }
}
