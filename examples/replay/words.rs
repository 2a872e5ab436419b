//! What townspeople are called and what they say.
//! Owns: the word lists. May touch: `steps` (random numbers).
//! Never: says something else for the same numbers.

use crate::steps::Random;

const FIRST_NAMES: [&str; 24] = [
    "Ada", "Bruno", "Chiara", "Dmitri", "Edda", "Farid", "Greta", "Hana", "Ivo", "Jana", "Kofi", "Lena", "Marek",
    "Nadia", "Otto", "Paula", "Quentin", "Rosa", "Samir", "Tereza", "Udo", "Vera", "Wanda", "Žofie",
];
const LAST_NAMES: [&str; 20] = [
    "Abel", "Baker", "Carver", "Dyer", "Ekman", "Fisher", "Gardener", "Hill", "Ibsen", "Joiner", "Keller", "Lamm",
    "Miller", "Novák", "Ostler", "Potter", "Reeve", "Smith", "Tanner", "Weaver",
];
const GROUP_NAMES: [&str; 40] = [
    "bakers",
    "choir",
    "football",
    "school 3b",
    "allotments",
    "fire brigade",
    "book club",
    "chess",
    "old mill",
    "market",
    "lost and found",
    "hiking",
    "lake swimmers",
    "bus 14",
    "library",
    "harvest feast",
    "dog walkers",
    "beekeepers",
    "town band",
    "theatre",
    "kindergarten",
    "river watch",
    "cyclists",
    "astronomy",
    "quilting",
    "film night",
    "parents 1a",
    "parents 2c",
    "station road",
    "church bells",
    "repair café",
    "farm shop",
    "mushrooms",
    "knitting",
    "runners",
    "pub quiz",
    "photo walk",
    "ferry",
    "flea market",
    "snow clearing",
];

const OPENERS: [&str; 16] = [
    "",
    "",
    "",
    "",
    "hi, ",
    "ok, ",
    "by the way, ",
    "sorry, ",
    "well, ",
    "hm, ",
    "listen: ",
    "good news: ",
    "yes, ",
    "no, ",
    "wait, ",
    "one more thing: ",
];
const SUBJECTS: [&str; 18] = [
    "I",
    "we",
    "the baker",
    "my sister",
    "the mayor",
    "somebody",
    "the kids",
    "our neighbour",
    "the postman",
    "nobody",
    "half the choir",
    "the new teacher",
    "my aunt",
    "the ferryman",
    "you two",
    "the cat",
    "everyone from the lake",
    "the plumber",
];
const VERBS: [&str; 18] = [
    "found",
    "forgot",
    "brought",
    "repaired",
    "lost",
    "bought",
    "painted",
    "saw",
    "borrowed",
    "cooked",
    "asked about",
    "sold",
    "carried home",
    "dropped",
    "was looking for",
    "already paid for",
    "wrote about",
    "cannot find",
];
const THINGS: [&str; 22] = [
    "the ladder",
    "three loaves",
    "a blue umbrella",
    "the keys",
    "the second trombone",
    "a crate of plums",
    "the old map",
    "your bicycle",
    "the projector",
    "two tickets",
    "the goat",
    "a very long list",
    "the tent",
    "the soup pot",
    "some firewood",
    "the photographs",
    "the minutes of the meeting",
    "honey",
    "a parcel from Brno",
    "the spare tyre",
    "chalk",
    "the good scissors",
];
const PLACES: [&str; 16] = [
    "at the mill",
    "behind the school",
    "near the bridge",
    "on the market",
    "in the library",
    "by the lake",
    "at home",
    "on bus 14",
    "in the church tower",
    "at the station",
    "under the bench",
    "in the hall",
    "next to the well",
    "upstairs",
    "in the shed",
    "at the ferry",
];
const TIMES: [&str; 14] = [
    "",
    "",
    "",
    "today",
    "this morning",
    "yesterday",
    "before the rain",
    "at half past six",
    "after practice",
    "last week",
    "on Sunday",
    "just now",
    "as always",
    "twice",
];
const ENDINGS: [&str; 12] =
    ["", "", "", "", ".", ".", "!", " 🙂", "...", ", you know?", ". Can you come?", ", so do not wait for me."];
const SHORT: [&str; 24] = [
    "ok",
    "yes",
    "no",
    "thanks!",
    "👍",
    "on my way",
    "five minutes",
    "where are you?",
    "same here",
    "haha",
    "who has the keys?",
    "see you there",
    "not today",
    "what?",
    "good night",
    "good morning",
    "sure",
    "?",
    "call me",
    "done",
    "maybe tomorrow",
    "💛",
    "děkuji",
    "it is raining again",
];

/// How many townspeople can bear a name without a number.
pub const NAME_COUNT: usize = FIRST_NAMES.len() * LAST_NAMES.len();

/// The name of the n-th townsperson, counted from 0. All first names come once before one comes twice.
pub fn person(index: usize) -> String {
    let first = index % FIRST_NAMES.len();
    let last = (index / FIRST_NAMES.len() + first) % LAST_NAMES.len();
    format!("{} {}", FIRST_NAMES[first], LAST_NAMES[last])
}

/// The names of the small groups.
pub fn groups() -> impl ExactSizeIterator<Item = &'static str> {
    GROUP_NAMES.into_iter()
}

/// Something to say: a word or two, a sentence, now and then a few of them.
pub fn say(random: &mut Random) -> String {
    if random.once_in(3) {
        return of(random, &SHORT).to_owned();
    }
    let mut text = sentence(random);
    while random.once_in(5) {
        if !text.ends_with(['.', '!', '?']) {
            text.push('.');
        }
        text.push(' ');
        text.push_str(&sentence(random));
    }
    text
}

fn sentence(random: &mut Random) -> String {
    let (opener, subject, verb) = (of(random, &OPENERS), of(random, &SUBJECTS), of(random, &VERBS));
    let (thing, place, time) = (of(random, &THINGS), of(random, &PLACES), of(random, &TIMES));
    let space = if time.is_empty() { "" } else { " " };
    format!("{opener}{subject} {verb} {thing} {place}{space}{time}{}", of(random, &ENDINGS))
}

fn of(random: &mut Random, words: &[&'static str]) -> &'static str {
    random.pick(words).copied().unwrap_or_default()
}
