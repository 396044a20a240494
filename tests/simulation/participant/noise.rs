//! Where a silo's noise comes from.

use protocol::ClientEffect;

use super::world::{AT, World};

#[test]
fn noise_is_drawn_by_the_silos_machine_alone_and_not_from_the_seed_that_chose_the_rows() {
    // The same machine, the same transcript: all that is public, and all keys, are alike.
    let [first, again, other] = [None, None, Some(6)].map(|reseeded| {
        let (mut world, dealt) = World::dealt();
        if let Some(byte) = reseeded {
            world.reseed(byte);
        }
        let delivered = world.deliver(dealt, &[]);
        (*delivered.mask.noise_seed, delivered.mask.masking.r2())
    });
    assert_eq!(first, again);
    assert_eq!(first.1, other.1);
    assert_ne!(first.0, other.0, "the transcript decides the noise, which others know");

    let mut world = World::in_a_run();
    let opened = world.say(world.open(AT));
    let [ClientEffect::Train(job)] = &opened[..] else { panic!("{opened:?}") };
    assert_ne!(first.0, *job.seed, "what chose the rows chooses the noise");
}
