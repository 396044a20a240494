//! `folkmoot account` and `folkmoot calibrate`: what noise is worth, and how much it takes.

use accounting::{DpEvent, rounded_up};
use serde::Serialize;

use crate::Failure;

#[derive(clap::Args, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "Relation: one record added or removed; for fixed-size batches, one replaced. With --json one object: \
                  {\"epsilon\":…,\"accountant\":…,\"order\":…}, where the order is null for pld.\n\n\
                  Examples:\n  \
                  folkmoot account --q 0.01 --noise 1.1 --steps 10000 --delta 1e-5\n  \
                  folkmoot account --q 0.01 --noise 1.1 --steps 10000 --delta 1e-5 --accountant pld --json"
)]
pub(crate) struct AccountArgs {
    #[command(flatten)]
    run: Run,
    /// The noise multiplier: standard deviation over sensitivity. The sensitivity is the clip norm where a record is added or
    /// removed, and twice the clip norm where it is replaced.
    #[arg(long, value_name = "Z")]
    noise: f64,
    /// How batches are drawn.
    #[arg(long, value_enum, default_value = "poisson")]
    sampling: Sampling,
    #[command(flatten)]
    by: By,
}

#[derive(clap::Args, Debug)]
#[command(
    allow_negative_numbers = true,
    after_help = "The noise is rounded up to 1/10000, and the epsilon is what it then spends. It is what a plan needs: by RDP at \
                  integer orders, proven for the discrete noise that is really added. Beside it stands what the sharper accountants \
                  say of the continuous Gaussian; --orders fractional or --accountant pld asks for one of them. With --json one \
                  object: {\"noise_multiplier\":…,\"epsilon\":…,\"accountant\":…}.\n\n\
                  Example:\n  folkmoot calibrate --epsilon 4 --delta 1e-5 --q 0.01 --steps 10000"
)]
pub(crate) struct CalibrateArgs {
    /// The most that may be spent.
    #[arg(long, value_name = "E")]
    epsilon: f64,
    #[command(flatten)]
    run: Run,
    #[command(flatten)]
    by: By,
}

#[derive(clap::Args, Debug)]
struct Run {
    /// The sampling rate: the probability that a record is in a batch, or batch over table.
    #[arg(long, value_name = "Q")]
    q: f64,
    /// How many releases.
    #[arg(long, value_name = "T")]
    steps: u64,
    /// The probability of failure.
    #[arg(long, value_name = "D")]
    delta: f64,
}

#[derive(clap::Args, Debug)]
struct By {
    /// Which accountant.
    #[arg(long, value_enum, default_value = "rdp")]
    accountant: Accountant,
    /// Of rdp: which orders. At integer ones the bound is proven for the discrete noise that is really added. Where nothing is said:
    /// fractional for `account`, which prints the other beside it, integer for `calibrate`.
    #[arg(long, value_enum)]
    orders: Option<Orders>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Sampling {
    /// Each record is in or out by itself.
    Poisson,
    /// So many records, without replacement.
    FixedSize,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Accountant {
    /// Rényi differential privacy.
    Rdp,
    /// Privacy loss distribution.
    Pld,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
enum Orders {
    /// 1.1 to 1024, of the continuous Gaussian.
    Fractional,
    /// 2 to 256: what plans and ledgers are held to.
    Integer,
}

#[derive(Serialize)]
struct Calibrated {
    noise_multiplier: f64,
    epsilon: f64,
    accountant: &'static str,
}

impl By {
    fn accountant(&self, orders: Orders) -> accounting::Accountant {
        match (self.accountant, self.orders.unwrap_or(orders)) {
            (Accountant::Pld, _) => accounting::Accountant::Pld,
            (Accountant::Rdp, Orders::Integer) => accounting::Accountant::IntegerRdp,
            (Accountant::Rdp, Orders::Fractional) => accounting::Accountant::FractionalRdp,
        }
    }
}

pub(crate) fn account(args: &AccountArgs) -> Result<(), Failure> {
    let Run { q, steps, delta } = args.run;
    let (sampling_rate, noise_multiplier) = (q, args.noise);
    let event = match args.sampling {
        Sampling::Poisson => DpEvent::PoissonGaussian { sampling_rate, noise_multiplier },
        Sampling::FixedSize => DpEvent::FixedSizeGaussian { sampling_rate, noise_multiplier },
    };
    let spent = args.by.accountant(Orders::Fractional).spent(event, steps, delta).map_err(Failure::usage)?;
    if !spent.epsilon.is_finite() {
        return Err(Failure::usage(
            "no finite epsilon can be stated for these numbers: there is too little noise for so many steps",
        ));
    }
    if args.by.json {
        return print(&spent);
    }
    let order = spent.order.map_or(String::new(), |order| format!(" (order {order})"));
    println!(
        "epsilon       {} at delta {delta}, by {}{order}",
        rounded_up(spent.epsilon, 6),
        spent.accountant
    );
    let relation = match args.sampling {
        Sampling::Poisson => "one record added or removed",
        Sampling::FixedSize => {
            "one record replaced, with noise relative to what that moves (twice a clip norm): batches of fixed size are \
             not accounted as Poisson samples"
        }
    };
    println!("relation      {relation}");
    if let Sampling::FixedSize = args.sampling {
        println!(
            "note          of the continuous Gaussian; it gates nothing, because no plan trains on such batches"
        );
        return Ok(());
    }
    let gating = accounting::Accountant::IntegerRdp.spent(event, steps, delta).map_err(Failure::usage)?;
    println!(
        "gates budgets {}: RDP at integer orders, proven for the discrete noise",
        rounded_up(gating.epsilon, 6)
    );
    if spent != gating {
        println!("note          the first figure is the continuous Gaussian's: a continuous approximation");
    }
    Ok(())
}

pub(crate) fn calibrate(args: &CalibrateArgs) -> Result<(), Failure> {
    let Run { q, steps, delta } = args.run;
    let by = args.by.accountant(Orders::Integer);
    let calibrated = |by: accounting::Accountant| by.calibrate(args.epsilon, delta, q, steps);
    let (noise, spent) = calibrated(by).map_err(|why| {
        let others = beside(by).into_iter().filter_map(|by| Some((by, calibrated(by).ok()?.0)));
        let others =
            others.map(|(by, noise)| format!("; a noise multiplier of {noise} is enough by {}", said_of(by)));
        Failure::usage(others.fold(why.to_string(), |text, other| text + &other))
    })?;
    if args.by.json {
        return print(&Calibrated {
            noise_multiplier: noise.value(),
            epsilon: spent.epsilon,
            accountant: spent.accountant,
        });
    }
    println!("noise         {noise} (standard deviation over sensitivity), by {}", said_of(by));
    println!("spends        epsilon {} of {} at delta {delta}", rounded_up(spent.epsilon, 6), args.epsilon);
    for by in beside(by) {
        let noise = calibrated(by).map_or_else(|why| format!("none: {why}"), |(noise, _)| noise.to_string());
        println!("else          {noise}, by {}", said_of(by));
    }
    Ok(())
}

/// The accountants that are not this one.
fn beside(by: accounting::Accountant) -> Vec<accounting::Accountant> {
    use accounting::Accountant::{FractionalRdp, IntegerRdp, Pld};
    [IntegerRdp, FractionalRdp, Pld].into_iter().filter(|other| *other != by).collect()
}

/// What an accountant's figure is worth.
fn said_of(by: accounting::Accountant) -> &'static str {
    match by {
        accounting::Accountant::IntegerRdp => {
            "RDP at integer orders: proven for the discrete noise, and what plans are held to"
        }
        accounting::Accountant::FractionalRdp => {
            "RDP at fractional orders: an approximation, the continuous Gaussian's, which gates nothing"
        }
        accounting::Accountant::Pld => {
            "privacy loss distributions: an approximation, the continuous Gaussian's, which gates nothing"
        }
    }
}

fn print(object: &impl Serialize) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(object).map_err(Failure::failed)?);
    Ok(())
}
