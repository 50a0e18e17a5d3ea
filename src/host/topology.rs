//! Processors as Windows describes them (`GetLogicalProcessorInformationEx`): cores, packages, memory nodes, caches.
//!
//! A pure function over the bytes of 64-bit Windows, so that it is tested everywhere.

use super::cpu::Cache;
use super::placement::MemoryNode;

/// Hardware threads are numbered through all groups, 64 a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// The hardware threads of each core, and how efficient it is: cores of a higher class are faster (Intel's P and E).
    pub cores: Vec<(Vec<u32>, u8)>,
    pub packages: u32,
    pub nodes: Vec<MemoryNode>,
    pub caches: Vec<Cache>,
}

impl Topology {
    /// `None` where a record is longer than what is left.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (kind, size) = (number(rest, 0, 4)?, number(rest, 4, 4)? as usize);
            let record = rest.get(..size).filter(|record| record.len() >= 8)?;
            rest = &rest[size..];
            match kind {
                0 => found.cores.push((masked(record, 30)?, record[9])),
                1 | 5 => found.nodes.push(MemoryNode {
                    id: number(record, 8, 4)? as u32,
                    cpus: masked(record, 30)?,
                }),
                2 => found.add_cache(record)?,
                3 => found.packages += 1,
                // Groups, and what later versions add.
                _ => {}
            }
        }
        found.caches.sort();
        Some(found)
    }

    fn add_cache(&mut self, record: &[u8]) -> Option<()> {
        let kind = match number(record, 16, 4)? {
            0 => "Unified",
            1 => "Instruction",
            2 => "Data",
            // Traces of instructions: no memory.
            _ => return Some(()),
        };
        let cache = Cache {
            level: record[8].into(),
            kind: kind.to_owned(),
            bytes: number(record, 12, 4)?,
            shared_by: masked(record, 38)?.len() as u32,
            instances: 1,
        };
        let same = self.caches.iter_mut().find(|c| {
            (c.level, &c.kind, c.bytes, c.shared_by)
                == (cache.level, &cache.kind, cache.bytes, cache.shared_by)
        });
        match same {
            Some(same) => same.instances += 1,
            None => self.caches.push(cache),
        }
        Some(())
    }

    pub(crate) fn logical_cores(&self) -> u32 {
        self.cores.iter().map(|(cpus, _)| cpus.len() as u32).sum()
    }

    /// Cores that some hardware threads belong to.
    pub(crate) fn cores_of(&self, cpus: &[u32]) -> u32 {
        let holds = |(own, _): &&(Vec<u32>, u8)| own.iter().any(|cpu| cpus.contains(cpu));
        self.cores.iter().filter(holds).count() as u32
    }
}

/// Hardware threads of the masks at the end of a record, of which there are as many as the number before them says; older versions
/// say 0 and have one.
fn masked(record: &[u8], count_at: usize) -> Option<Vec<u32>> {
    let count = number(record, count_at, 2)?.max(1) as usize;
    let mut cpus = Vec::new();
    for index in 0..count {
        let at = count_at + 2 + index * 16;
        let (mask, group) = (number(record, at, 8)?, number(record, at + 8, 2)?);
        let of_group = (0..64).filter(|bit| mask >> bit & 1 == 1);
        cpus.extend(of_group.map(|bit| group as u32 * 64 + bit));
    }
    Some(cpus)
}

/// A number of 2, 4 or 8 bytes, the lowest first.
fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let raw = bytes.get(at..at + width)?;
    Some(raw.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of a kind: what stands at which place, and a mask of hardware threads in a group.
    fn record(kind: u32, count_at: usize, set: &[(usize, &[u8])], masks: &[(u64, u16)]) -> Vec<u8> {
        let size = count_at + 2 + 16 * masks.len();
        let mut bytes = vec![0; size];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[4..8].copy_from_slice(&(size as u32).to_le_bytes());
        for (at, value) in set {
            bytes[*at..at + value.len()].copy_from_slice(value);
        }
        bytes[count_at..count_at + 2].copy_from_slice(&(masks.len() as u16).to_le_bytes());
        for (index, (mask, group)) in masks.iter().enumerate() {
            let at = count_at + 2 + 16 * index;
            bytes[at..at + 8].copy_from_slice(&mask.to_le_bytes());
            bytes[at + 8..at + 10].copy_from_slice(&group.to_le_bytes());
        }
        bytes
    }

    fn cache(level: u8, kind: u8, bytes: u32, mask: u64) -> Vec<u8> {
        let set: [(usize, &[u8]); 3] = [(8, &[level]), (12, &bytes.to_le_bytes()), (16, &[kind])];
        record(2, 38, &set, &[(mask, 0)])
    }

    /// One fast core with two hardware threads, two slow ones with one each, as in a small laptop.
    fn laptop() -> Vec<u8> {
        [
            record(3, 30, &[], &[(0b1111, 0)]),
            record(0, 30, &[(8, &[1, 1][..])], &[(0b11, 0)]),
            record(0, 30, &[], &[(0b100, 0)]),
            record(0, 30, &[], &[(0b1000, 0)]),
            cache(3, 0, 12 << 20, 0b1111),
            cache(1, 2, 48 << 10, 0b11),
            cache(1, 2, 32 << 10, 0b100),
            cache(1, 2, 32 << 10, 0b1000),
            record(1, 30, &[], &[(0b1111, 0)]),
            // A group, and a kind that nobody knows yet.
            record(4, 30, &[], &[]),
            record(99, 30, &[], &[]),
        ]
        .concat()
    }

    #[test]
    fn a_laptop_with_two_kinds_of_cores() {
        let found = Topology::parse(&laptop()).expect("whole records");
        let cores = [(vec![0, 1], 1), (vec![2], 0), (vec![3], 0)];
        assert_eq!(found.cores, cores);
        assert_eq!((found.packages, found.logical_cores()), (1, 4));
        assert_eq!(found.cores_of(&[0, 1, 3]), 2);
        assert_eq!(found.nodes.len(), 1);
        assert_eq!(found.nodes[0].cpus, [0, 1, 2, 3]);
        let caches: Vec<_> = found
            .caches
            .iter()
            .map(|c| (c.level, c.kind.as_str(), c.bytes >> 10, c.instances))
            .collect();
        let expected = [
            (1, "Data", 32, 2),
            (1, "Data", 48, 1),
            (3, "Unified", 12 << 10, 1),
        ];
        assert_eq!(caches, expected);
    }

    #[test]
    fn more_processors_than_a_mask_has_bits() {
        let node = record(1, 30, &[(8, &[1][..])], &[(1 << 63, 0), (0b1, 1)]);
        let found = Topology::parse(&node).expect("a whole record");
        assert_eq!(
            (found.nodes[0].id, &found.nodes[0].cpus),
            (1, &vec![63, 64])
        );
    }

    #[test]
    fn half_a_record_is_no_answer() {
        let whole = laptop();
        for length in [1, 7, whole.len() - 1] {
            assert_eq!(Topology::parse(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(Topology::parse(&[0; 8]), None, "a record without a size");
        assert_eq!(Topology::parse(&[]), Some(Topology::default()));
    }
}
