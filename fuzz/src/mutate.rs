//! Inputs out of a corpus, by chance that a seed decides.

/// Longest input in bytes.
pub const MAX_INPUT: usize = 64 << 10;

/// Numbers that look random and depend on the seed alone (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        // The remainder is below `end`, so it fits.
        usize::try_from(self.number() % (end.max(1) as u64)).unwrap_or(0)
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        // Short pieces more often than long ones.
        let longest = (length - start).min(1 << self.below(12));
        start..start + self.below(longest + 1)
    }
}

/// Numbers at the edges of what fields hold.
const EDGES: [u64; 12] =
    [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, i64::MAX as u64, 1 << 63, u64::MAX];
/// Digits at the edges of what numbers hold.
const DIGITS: [&str; 8] =
    ["0", "-1", "+1", "00", "4294967296", "9223372036854775807", "18446744073709551616", "999999999999999999999"];

/// A new input: some member of the corpus, changed in a few places.
pub fn mutate(chance: &mut Chance, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut input = corpus.get(chance.below(corpus.len())).cloned().unwrap_or_default();
    for _ in 0..=chance.below(6) {
        change(chance, &mut input, corpus, words);
        input.truncate(MAX_INPUT);
    }
    input
}

fn change(chance: &mut Chance, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let at = chance.below(input.len());
    let place = chance.range(input.len());
    match chance.below(12) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = chance.number().to_le_bytes()[0];
            }
        }
        3 => {
            input.drain(place);
        }
        4 => {
            let copy = input[place].to_vec();
            insert(input, at, &copy);
        }
        5 => {
            let other = corpus.get(chance.below(corpus.len())).map_or(&[][..], Vec::as_slice);
            let piece = other[chance.range(other.len())].to_vec();
            input.splice(place, piece);
        }
        6 | 7 => {
            let word = words.get(chance.below(words.len())).copied().unwrap_or("");
            if chance.below(2) == 0 {
                input.splice(place, word.bytes());
            } else {
                insert(input, at, word.as_bytes());
            }
        }
        8 => {
            let edge = EDGES[chance.below(EDGES.len())].to_le_bytes();
            let width = 1 << chance.below(4);
            let end = (at + width).min(input.len());
            input.splice(at..end, edge[..width].iter().copied());
        }
        9 => {
            // A number in digits becomes another one.
            let start = input[..at].iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |before| before + 1);
            let end = input[start..]
                .iter()
                .position(|byte| !byte.is_ascii_digit())
                .map_or(input.len(), |length| start + length);
            let digits = DIGITS[chance.below(DIGITS.len())];
            input.splice(start..end, digits.bytes());
        }
        10 => {
            let fill = chance.number().to_le_bytes()[0];
            insert(input, at, &vec![fill; 1 << chance.below(14)]);
        }
        _ => input.truncate(at),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let at = at.min(input.len());
    input.splice(at..at, bytes.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_everything() {
        let corpus = [b"GET /x/1 HTTP".to_vec(), vec![0; 100], Vec::new()];
        let inputs = |seed| {
            let mut chance = Chance::new(seed);
            (0..500).map(|_| mutate(&mut chance, &corpus, &["word"])).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        let different: std::collections::HashSet<_> = inputs(1).into_iter().collect();
        assert!(different.len() > 400 && different.iter().all(|input| input.len() <= MAX_INPUT));
        assert!(mutate(&mut Chance::new(1), &[], &[]).len() <= MAX_INPUT);
    }
}
