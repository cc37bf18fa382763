//! The definitions from outside: what is wrong is said at the right place, whatever the file.

#[path = "definition/broken.rs"]
mod broken;
#[path = "definition/cases.rs"]
mod cases;
#[path = "definition/examples.rs"]
mod examples;
#[path = "definition/fixture.rs"]
mod fixture;
#[path = "definition/limits.rs"]
mod limits;
#[path = "definition/mutations.rs"]
mod mutations;
#[path = "definition/shipped.rs"]
mod shipped;
#[path = "definition/sound.rs"]
mod sound;
