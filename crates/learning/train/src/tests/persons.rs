//! Claims about training where a person, with all their rows, is the unit.

use std::collections::BTreeSet;

use params::Activation;
use plan::{Plan, Sampled};

use super::*;

/// A network with a hidden layer, whose promise is about persons.
fn by_person(clip_norm: f64) -> Plan {
    let mut plan = plan(vec![6], Activation::Tanh, 5, 3);
    clip_at(&mut plan, clip_norm);
    plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = Sampled::PERSON;
    plan
}

/// The same about rows.
fn by_row(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = Sampled::Record;
    plan
}

/// Whose rows are whose: of `-` nobody's.
fn owned(data: Dataset, owners: &str) -> Dataset {
    let names: Vec<String> = owners.chars().map(String::from).collect();
    let names: Vec<Option<&str>> =
        names.iter().map(|name| Some(name.as_str()).filter(|name| *name != "-")).collect();
    data.of_persons(&names).unwrap()
}

fn norm(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum::<f64>().sqrt()
}

#[test]
fn of_a_persons_rows_the_first_that_fit_are_used_and_no_more() {
    let mut plan = by_person(0.3);
    let model = plan.initial_model();
    let all = owned(table(&plan, 11), "abacb-aacab");
    let whole = descents(&plan, &model, &all, 1e9).unwrap();
    plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = Sampled::Person { rows_max: 2 };
    let bounded = descents(&plan, &model, &all, 1e9).unwrap();
    // The same table in which what is beyond two is nobody's.
    let cut = owned(table(&plan, 11), "abacb---c--");
    plan.privacy.promise_mut().unwrap().sampling_mut().unwrap().unit = Sampled::PERSON;
    assert_eq!(bounded, descents(&plan, &model, &cut, 1e9).unwrap());
    let differs: Vec<bool> = whole.iter().zip(&bounded).map(|(whole, bounded)| whole != bounded).collect();
    assert_eq!(differs, [true, true, false]);
}

#[test]
fn a_persons_contribution_is_the_sum_of_their_rows_and_clipped_as_one() {
    let plan = by_person(0.3);
    let data = owned(table(&plan, 11), "abacb-aacab");
    let model = plan.initial_model();
    // Of the rows by themselves, as they are: no gradient is so large.
    let rows = descents(&by_row(&plan), &model, &data, 1e9).unwrap();
    let persons = descents(&plan, &model, &data, 0.3).unwrap();
    assert_eq!(persons.len(), 3);
    let mut clipped = 0;
    for (name, descent) in ["a", "b", "c"].iter().zip(&persons) {
        let of_person = |(owner, row): (char, &Vec<f64>)| (owner.to_string() == *name).then(|| row.clone());
        let own: Vec<Vec<f64>> = "abacb-aacab".chars().zip(&rows).filter_map(of_person).collect();
        let whole: Vec<f64> = (0..descent.len()).map(|lane| own.iter().map(|row| row[lane]).sum()).collect();
        let factor = (0.3 * (1.0 - 2f64.powi(-12)) / norm(&whole)).min(1.0);
        clipped += usize::from(factor < 1.0);
        for (lane, whole) in descent.iter().zip(&whole) {
            assert!((lane - factor * whole).abs() < 1e-12, "{name}: {lane}, {}", factor * whole);
        }
        assert!(norm(descent) <= 0.3, "{name}, whose {} rows add up to {}", own.len(), norm(&whole));
    }
    assert!(clipped > 0, "no person's rows add up to more than is allowed");
    let sum = descent_sum(&plan, &model, &data, 0.3).unwrap();
    for (lane, sum) in sum.iter().enumerate() {
        assert!((sum - persons.iter().map(|person| person[lane]).sum::<f64>()).abs() < 1e-12);
    }
}

#[test]
fn persons_are_drawn_with_all_their_rows() {
    let mut plan = by_person(5.0);
    sample_at(&mut plan, 0.5);
    let data = owned(table(&plan, 9), "ababacbac");
    let model = plan.initial_model();
    let persons = descents(&plan, &model, &data, 5.0).unwrap();
    let of_batch = |drawn: &BTreeSet<usize>| -> Vec<f64> {
        let lanes = 0..model.values().len();
        lanes.map(|lane| drawn.iter().map(|person| persons[*person][lane]).sum()).collect()
    };
    let batches: Vec<BTreeSet<usize>> =
        (0..8usize).map(|bits| (0..3).filter(|person| bits >> person & 1 == 1).collect()).collect();
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let sum: Vec<f64> = clipped_sum(&plan, &data, seed)
            .into_iter()
            .map(|lane| lane as f64 / f64::from(1 << 24))
            .collect();
        let is_of = |drawn: &&BTreeSet<usize>| {
            of_batch(drawn).iter().zip(&sum).all(|(expected, lane)| (expected - lane).abs() < 1e-6)
        };
        let drawn = batches.iter().find(is_of);
        seen.insert(drawn.unwrap_or_else(|| panic!("a person is in it with some of their rows: {sum:?}")));
    }
    // Each of 8 batches is missed by 40 draws with probability (7/8)^40, below 5e-3; the seeds are fixed.
    assert_eq!(seen.len(), 8);
}

#[test]
fn what_a_person_contributes_depends_on_nobody_else() {
    // Bit for bit: rows of others before, between and behind, which move them within and across micro-batches of four.
    let plan = by_person(0.5);
    let model = plan.initial_model();
    let rows: Vec<usize> = (0..14).collect();
    let all = table(&plan, 14);
    let owners = "xaybzazbxaybza";
    let reference = descents(&plan, &model, &owned(all.only(&rows).unwrap(), owners), 0.5).unwrap();
    // Persons are numbered by their first rows: x, a, y, b, z.
    for (left_out, without) in [('x', 0), ('a', 1), ('y', 2), ('b', 3), ('z', 4)] {
        let kept: Vec<(usize, char)> =
            rows.iter().copied().zip(owners.chars()).filter(|(_, owner)| *owner != left_out).collect();
        let data = all.only(&kept.iter().map(|(row, _)| *row).collect::<Vec<_>>()).unwrap();
        let data = owned(data, &kept.iter().map(|(_, owner)| *owner).collect::<String>());
        let mut expected = reference.clone();
        expected.remove(without);
        let firsts = |owner: &char| kept.iter().position(|(_, other)| other == owner);
        let mut order: Vec<(usize, &Vec<f64>)> = "xaybz"
            .chars()
            .filter(|owner| *owner != left_out)
            .zip(&expected)
            .map(|(owner, descent)| (firsts(&owner).unwrap(), descent))
            .collect();
        order.sort_by_key(|(first, _)| *first);
        let found = descents(&plan, &model, &data, 0.5).unwrap();
        assert!(found.iter().eq(order.into_iter().map(|(_, descent)| descent)), "without {left_out}");
    }
}

#[test]
fn rows_that_do_not_fit_and_rows_of_nobody_add_nothing_and_change_no_draw() {
    let mut plan = by_person(0.5);
    sample_at(&mut plan, 0.5);
    let header = "x0,x1,x2,x3,x4,y\n";
    let read = |rows: &[&str], owners: &str| {
        let (data, _) = Dataset::from_csv_leniently(
            "silo.csv",
            (header.to_owned() + &rows.concat()).as_bytes(),
            &plan.data,
        )
        .unwrap();
        owned(data, owners)
    };
    let [good, other, bad] =
        ["0.1,0.2,-0.3,0.4,0.5,1\n", "0.9,0.2,0.3,0.4,-0.5,2\n", "0.1,?,0.3,0.4,0.5,1\n"];
    let bare = read(&[good, other], "ab");
    // b has a row more that does not fit, c has no other, and one fits and is nobody's.
    let more = read(&[good, other, bad, bad, good], "abbc-");
    for seed in 0..16 {
        assert_eq!(clipped_sum(&plan, &bare, seed), clipped_sum(&plan, &more, seed), "seed {seed}");
    }
}

#[test]
fn a_table_that_says_nothing_of_persons_is_refused_and_no_row_is_taken_for_one() {
    let plan = by_person(0.5);
    let data = table(&plan, 3);
    let refused = BurnTrainer.train(&plan, &plan.initial_model(), &data, plan.clip_norm(), [1; 32]);
    assert!(matches!(refused, Err(TrainError::NoPersons)), "{:?}", refused.err());
    let data = owned(data, "aba");
    assert!(BurnTrainer.train(&plan, &plan.initial_model(), &data, plan.clip_norm(), [1; 32]).is_ok());
}
