//! That a trainer reads files as they are registered, by the registration that its daemon started with and by no other.

mod asked;

use plan::{Exact, Privacy, Weights};
use sandbox::Demand;
use trainer_protocol::Reply;

use crate::asked::{Asked, spawner};

const ROWS: usize = 60;

const REGISTRATION: &str = "format = 1\n[dialect]\nseparator = \";\"\ndecimal = \",\"\n[columns]\n\
                            label = { type = \"label\", classes = 10 }\nx0 = { from = \"X 1\", type = \"number\", times = 0.5 }\n\
                            x1 = { from = \"X 2\", type = \"number\", times = 0.5 }\nx2 = { from = \"X 3\", type = \"number\", times = 0.5 }\n\
                            x3 = { from = \"X 4\", type = \"number\", times = 0.5 }\n";

#[test]
fn a_registered_file_brings_to_the_bit_what_a_plain_one_brings_until_its_registration_is_another() {
    let plan = asked::plan(
        4,
        8,
        Privacy::Exact(Exact {
            coordinate_max: 4.0,
            fraction_bits: 20,
            weights: Weights::Uniform,
            evaluate: true,
            loss_max: 10.0,
        }),
    );
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let plain = asked::table(&plan, ROWS);
    let doubled = |cell: &str| format!("{},0", 2 * cell.parse::<u32>().unwrap());
    let lines = plain.lines().skip(1).map(|line| {
        let (cells, label) = line.rsplit_once(',').unwrap();
        let cells: Vec<String> = cells.split(',').map(doubled).collect();
        format!("{};{label}\n", cells.join(";"))
    });
    let written = "X 1;X 2;X 3;X 4;label\n".to_owned() + &lines.collect::<String>();
    std::fs::write(at("plain.csv"), &plain).unwrap();
    std::fs::write(at("written.csv"), written).unwrap();
    std::fs::write(at("silo.toml"), REGISTRATION).unwrap();
    asked::allow(&at("plain.csv"), &plan);

    let by_name = spawner(&at("plain.csv"), Demand::BestEffort, None);
    let registered = spawner(&at("written.csv"), Demand::BestEffort, Some(&at("silo.toml")));
    let [mut one, mut other] = [&by_name, &registered].map(|spawner| Asked::start(spawner).unwrap());
    assert_eq!(one.level, other.level);
    assert_eq!(one.read(&plan), other.read(&plan));
    assert!(one.train(&plan, 1).to_bytes() == other.train(&plan, 1).to_bytes());
    registered.end(other.id).unwrap();

    std::fs::write(at("silo.toml"), REGISTRATION.replace("0.5", "0.25")).unwrap();
    let said = Asked::start(&registered).unwrap_err();
    let Reply::Failed { job: 0, data: false, why } = said else { panic!("{said:?}") };
    assert!(why.contains("silo.toml: the registration of the data is not what it was"), "{why}");
    std::fs::write(at("silo.toml"), REGISTRATION).unwrap();
    let mut other = Asked::start(&registered).unwrap();
    assert_eq!(one.read(&plan), other.read(&plan));
}
