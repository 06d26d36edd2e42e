//! Inputs near to good ones, one after the other, until the time is over. Stable Rust, no instrumentation: what finds faults
//! is the oracle of each target, and that seeds lie close to every rule.

#![allow(clippy::print_stdout)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How many inputs a target gets when no time is set: enough to show that it runs.
const QUICK: usize = 400;
/// The longest input, in bytes.
const LONGEST: usize = 4096;
/// Bytes that mean something to most decoders.
const TELLING: [u8; 27] = *b"\0\x01\x7f\x80\xff{}[]\",:'-+.eE0189%\\/ \n";

/// Runs a target: `check` answers what is wrong with what the decoder made of an input.
///
/// `FUZZ_SECONDS` says how long, `FUZZ_SEED` where to begin; a fault prints both and the input.
pub fn run(target: &str, seeds: &[&[u8]], words: &[&str], check: impl Fn(&[u8]) -> Result<(), String>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let time = number("FUZZ_SECONDS").map(Duration::from_secs);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = number("FUZZ_SEED").unwrap_or(if time.is_some() { now.as_nanos() as u64 } else { 1 });
    let mut random = Random(seed | 1);
    println!("{target}: seed {seed}");
    let (begin, mut count) = (Instant::now(), 0);
    let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let given = corpus.len();
    loop {
        let input = if count < given { corpus[count].clone() } else { random.input(&corpus, words) };
        let outcome = catch_unwind(AssertUnwindSafe(|| check(&input)));
        let fault = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(why)) => Some(why),
            Err(_) => Some("it panicked".to_owned()),
        };
        if let Some(why) = fault {
            panic!("{target}, seed {seed}, input {count}: {why}\n  b\"{}\"", input.escape_ascii());
        }
        count += 1;
        // Some of what was let through is built upon.
        if count > given && random.below(64) == 0 {
            if corpus.len() < given + 256 {
                corpus.push(input);
            } else {
                let at = given + random.below(256);
                corpus[at] = input;
            }
        }
        match time {
            Some(time) if begin.elapsed() >= time => break,
            None if count >= QUICK + given => break,
            _ => {}
        }
    }
    println!("{target}: {count} inputs, no fault");
}

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn input(&mut self, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, corpus, words);
        }
        input.truncate(LONGEST);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(16)).min(input.len());
        match self.below(9) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = TELLING[self.below(TELLING.len())],
            2 => input.insert(at, TELLING[self.below(TELLING.len())]),
            3 if at < end => drop(input.drain(at..end)),
            4 if at < end => {
                let piece = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, piece);
            }
            5 if !words.is_empty() => {
                let word = words[self.below(words.len())].bytes();
                input.splice(at..at, word);
            }
            6 if !words.is_empty() => {
                let word = words[self.below(words.len())].bytes();
                input.splice(at..end.max(at), word);
            }
            7 => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(at),
        }
    }
}
