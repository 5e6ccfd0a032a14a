//! Accounts of a made-up software vendor: firmographics, usage and what they are worth, in groups as a sales team would
//! know them. For demonstrations: it is no benchmark, the groups are meant to be found.
//!
//! Row `i` depends on the seed and `i` alone, by integers and basic operations on floats.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::noise::{bell, power_of_e};
use super::{MAX_ROWS, in_range};
use crate::data::{BatchSource, Consume};
use crate::error::Result;
use crate::rng::Rng;

/// Rows of a batch.
const BATCH_ROWS: usize = 1 << 14;
/// `account_id` of the first row.
const FIRST_ID: i64 = 100_001;
/// 2025-06-30, in days since 1970: no date is later.
const TODAY: i32 = 20_269;

const INDUSTRIES: [&str; 6] = ["retail", "software", "manufacturing", "health", "finance", "education"];
const COUNTRIES: [&str; 7] = ["DE", "US", "GB", "FR", "NL", "SE", "PL"];
const PLANS: [&str; 4] = ["starter", "team", "business", "enterprise"];
const FIRST_NAMES: [&str; 12] = [
    "anna", "ben", "clara", "david", "elif", "felix", "grace", "hugo", "ines", "jonas", "kim", "lea",
];
const LAST_NAMES: [&str; 12] = [
    "adler", "becker", "costa", "dubois", "evans", "fischer", "garcia", "hansen", "ivanov", "jansen", "kaya", "larsen",
];

/// A planted group. Figures are medians; noise is log-normal or bell-shaped about them.
#[derive(Debug, Clone, Copy)]
struct Group {
    /// What it is.
    name: &'static str,
    /// Groups of one kind differ in some figures only: they are parts of what is found first.
    kind: usize,
    /// Of 100 accounts.
    percent: u64,
    employees: f32,
    /// Seats per employee.
    seats: f32,
    /// Logins per seat and month.
    logins: f32,
    features: f32,
    integrations: f32,
    api_calls: f32,
    /// Tickets per quarter, for an account of the group's usual size.
    tickets: f32,
    /// Days since the last login.
    idle: f32,
    /// Days since the signup.
    tenure: f32,
    /// Revenue per seat and year.
    price: f32,
    /// Of 100 accounts, how many left.
    churned: u64,
    /// Of 16 accounts, how many are in each industry.
    industries: [u64; 6],
}

const EMBEDDED: Group = Group {
    name: "large and embedded",
    kind: 0,
    percent: 11,
    employees: 2600.0,
    seats: 0.28,
    logins: 19.0,
    features: 31.0,
    integrations: 9.0,
    api_calls: 90_000.0,
    tickets: 14.0,
    idle: 0.6,
    tenure: 1500.0,
    price: 290.0,
    churned: 2,
    industries: [2, 3, 4, 2, 4, 1],
};
const GROWING: Group = Group {
    name: "growing teams",
    kind: 1,
    percent: 12,
    employees: 190.0,
    seats: 0.36,
    logins: 17.0,
    features: 20.0,
    integrations: 2.5,
    api_calls: 900.0,
    tickets: 3.0,
    idle: 0.8,
    tenure: 620.0,
    price: 240.0,
    churned: 5,
    industries: [2, 6, 2, 2, 3, 1],
};
const SMALL: Group = Group {
    name: "small and steady, in shops",
    kind: 2,
    percent: 15,
    employees: 18.0,
    seats: 0.4,
    logins: 10.0,
    features: 9.0,
    integrations: 2.0,
    api_calls: 60.0,
    tickets: 0.8,
    idle: 2.5,
    tenure: 1300.0,
    price: 170.0,
    churned: 8,
    industries: [13, 1, 1, 1, 0, 0],
};
const UNUSED: Group = Group {
    name: "paid for and never set up",
    kind: 3,
    percent: 7,
    employees: 420.0,
    seats: 0.34,
    logins: 0.9,
    features: 2.5,
    integrations: 0.3,
    api_calls: 20.0,
    tickets: 0.4,
    idle: 40.0,
    tenure: 230.0,
    price: 210.0,
    churned: 47,
    industries: [3, 1, 6, 2, 3, 1],
};
const BEGUN: Group = Group {
    name: "just begun, on their own",
    kind: 4,
    percent: 8,
    employees: 12.0,
    seats: 0.4,
    logins: 13.0,
    features: 10.0,
    integrations: 0.9,
    api_calls: 60.0,
    tickets: 4.0,
    idle: 1.2,
    tenure: 55.0,
    price: 160.0,
    churned: 21,
    industries: [3, 4, 3, 2, 2, 2],
};
const MACHINES: Group = Group {
    name: "machines more than people",
    kind: 5,
    percent: 12,
    employees: 70.0,
    seats: 0.08,
    logins: 4.0,
    features: 13.0,
    integrations: 8.0,
    api_calls: 400_000.0,
    tickets: 2.2,
    idle: 5.0,
    tenure: 800.0,
    price: 1300.0,
    churned: 4,
    industries: [1, 10, 1, 1, 3, 0],
};

/// The groups, as [`B2bAccounts::group`] counts them.
static GROUPS: [Group; 10] = [
    EMBEDDED,
    GROWING,
    Group {
        name: "growing teams that build on it",
        percent: 10,
        features: 25.0,
        integrations: 7.0,
        api_calls: 9000.0,
        tickets: 8.0,
        ..GROWING
    },
    SMALL,
    Group {
        name: "small and steady, in schools and surgeries",
        percent: 13,
        employees: 34.0,
        seats: 0.25,
        logins: 6.0,
        features: 7.0,
        integrations: 0.7,
        api_calls: 20.0,
        tickets: 1.2,
        idle: 5.0,
        price: 150.0,
        churned: 9,
        industries: [0, 0, 1, 7, 0, 8],
        ..SMALL
    },
    UNUSED,
    Group {
        name: "paid for and used no more",
        percent: 6,
        logins: 1.7,
        features: 8.0,
        integrations: 1.6,
        api_calls: 90.0,
        idle: 55.0,
        tenure: 1250.0,
        churned: 34,
        ..UNUSED
    },
    BEGUN,
    Group {
        name: "just begun, with a plan",
        percent: 6,
        employees: 50.0,
        features: 12.0,
        api_calls: 150.0,
        tickets: 7.0,
        churned: 9,
        ..BEGUN
    },
    MACHINES,
];

/// One account.
#[derive(Debug, Clone)]
struct Account {
    group: usize,
    contact: String,
    industry: Option<&'static str>,
    country: &'static str,
    plan: &'static str,
    signup: i32,
    employees: Option<i32>,
    seats: i32,
    logins: f64,
    features: i32,
    integrations: i32,
    api_calls: i64,
    tickets: i32,
    idle: Option<i32>,
    nps: Option<i32>,
    arr: f64,
    churned: bool,
}

/// A table of accounts, made row by row when it is read.
#[derive(Debug, Clone)]
pub struct B2bAccounts {
    n_rows: usize,
    seed: u64,
    schema: SchemaRef,
}

impl B2bAccounts {
    /// So many accounts.
    ///
    /// # Errors
    /// [`crate::Error::InvalidParam`] for none, or more than 2^40.
    pub fn new(n_rows: usize, seed: u64) -> Result<Self> {
        in_range("n_rows", n_rows, 1, MAX_ROWS)?;
        let field = |name: &str, data_type, nullable| Field::new(name, data_type, nullable);
        let schema = Schema::new(vec![
            field("account_id", DataType::Int64, false),
            field("contact_email", DataType::Utf8, false),
            field("industry", DataType::Utf8, true),
            field("country", DataType::Utf8, false),
            field("plan", DataType::Utf8, false),
            field("currency", DataType::Utf8, false),
            field("signup_date", DataType::Date32, false),
            field("employees", DataType::Int32, true),
            field("seats", DataType::Int32, false),
            field("logins_per_seat", DataType::Float64, false),
            field("features_used", DataType::Int32, false),
            field("integrations", DataType::Int32, false),
            field("api_calls", DataType::Int64, false),
            field("tickets_per_quarter", DataType::Int32, false),
            field("days_since_login", DataType::Int32, true),
            field("nps", DataType::Int32, true),
            field("arr", DataType::Float64, false),
            field("churned", DataType::Boolean, false),
        ]);
        Ok(Self {
            n_rows,
            seed,
            schema: Arc::new(schema),
        })
    }

    /// The planted group of an account, from 0.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn group(&self, row: usize) -> usize {
        assert!(row < self.n_rows, "row {row} of {}", self.n_rows);
        self.account(row).group
    }

    /// What a group is, and its kind: groups of one kind are alike in most of their figures.
    ///
    /// # Panics
    /// If there is no such group.
    #[must_use]
    pub fn about(group: usize) -> (&'static str, usize) {
        (GROUPS[group].name, GROUPS[group].kind)
    }

    /// These rows, all columns.
    ///
    /// # Panics
    /// If they reach past the last row.
    #[must_use]
    pub fn batch(&self, rows: Range<usize>) -> RecordBatch {
        assert!(rows.end <= self.n_rows, "rows past the end");
        let accounts: Vec<Account> = rows.clone().map(|row| self.account(row)).collect();
        let all = accounts.iter();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_iter_values(rows.map(|row| FIRST_ID + row as i64))),
            Arc::new(StringArray::from_iter_values(all.clone().map(|a| &a.contact))),
            Arc::new(all.clone().map(|a| a.industry).collect::<StringArray>()),
            Arc::new(StringArray::from_iter_values(all.clone().map(|a| a.country))),
            Arc::new(StringArray::from_iter_values(all.clone().map(|a| a.plan))),
            Arc::new(StringArray::from_iter_values(all.clone().map(|_| "EUR"))),
            Arc::new(Date32Array::from_iter_values(all.clone().map(|a| a.signup))),
            Arc::new(all.clone().map(|a| a.employees).collect::<Int32Array>()),
            Arc::new(Int32Array::from_iter_values(all.clone().map(|a| a.seats))),
            Arc::new(Float64Array::from_iter_values(all.clone().map(|a| a.logins))),
            Arc::new(Int32Array::from_iter_values(all.clone().map(|a| a.features))),
            Arc::new(Int32Array::from_iter_values(all.clone().map(|a| a.integrations))),
            Arc::new(Int64Array::from_iter_values(all.clone().map(|a| a.api_calls))),
            Arc::new(Int32Array::from_iter_values(all.clone().map(|a| a.tickets))),
            Arc::new(all.clone().map(|a| a.idle).collect::<Int32Array>()),
            Arc::new(all.clone().map(|a| a.nps).collect::<Int32Array>()),
            Arc::new(Float64Array::from_iter_values(all.clone().map(|a| a.arr))),
            Arc::new(all.map(|a| Some(a.churned)).collect::<BooleanArray>()),
        ];
        RecordBatch::try_new(self.schema.clone(), columns).expect("arrays as the schema says")
    }

    fn account(&self, row: usize) -> Account {
        let mut draw = Draw(Rng::new(self.seed ^ 0xb2b0, row as u64));
        let group = draw.one_of(GROUPS.iter().map(|group| group.percent));
        let of = &GROUPS[group];
        // What its own size, eagerness and luck do to all its figures.
        let (size, eager) = (draw.bell(), draw.bell());
        let employees = of.employees * power_of_e(0.45 * size);
        let seats = (employees * of.seats * power_of_e(0.25 * draw.bell())).max(1.0);
        let logins = of.logins * power_of_e(0.22 * eager + 0.1 * draw.bell());
        let features = (of.features + 2.0 * eager + 1.5 * draw.bell()).clamp(1.0, 40.0);
        let integrations = of.integrations * power_of_e(0.3 * draw.bell()) + 0.3 * draw.bell();
        let api_calls = of.api_calls * power_of_e(0.3 * size + 0.5 * draw.bell());
        let tickets = of.tickets * power_of_e(0.25 * size + 0.25 * draw.bell());
        let idle = of.idle * power_of_e(0.35 * draw.bell() - 0.2 * eager);
        let tenure = of.tenure * power_of_e(0.3 * draw.bell());
        let arr = seats * of.price * power_of_e(0.15 * draw.bell());
        let [first, last] = [FIRST_NAMES, LAST_NAMES].map(|names| names[draw.below(12) as usize]);
        let industry = INDUSTRIES[draw.one_of(of.industries.into_iter())];
        let country = COUNTRIES[draw.one_of([5, 4, 3, 2, 1, 1, 1].into_iter())];
        // Plans go by seats, but not all.
        let seats_for_plan = seats * power_of_e(0.3 * draw.bell());
        let plan = PLANS[[5.0, 25.0, 180.0]
            .iter()
            .filter(|&&least| seats_for_plan > least)
            .count()];
        let mood = 7.5 + 0.8 * eager - of.idle.min(30.0) / 8.0 + 1.2 * draw.bell();
        let churned = draw.below(100) < of.churned;
        let [no_industry, no_size, no_login, rated, slip] = std::array::from_fn(|_| draw.below(1000));
        Account {
            group,
            contact: format!("{first}.{last}@account{}.example", FIRST_ID + row as i64),
            industry: (no_industry >= 30).then_some(industry),
            // A slip of the keyboard.
            country: if slip == 0 { "DEU" } else { country },
            plan,
            signup: TODAY - whole(tenure).max(1),
            employees: match slip {
                // What a form was filled with to get on.
                1 | 2 => Some(999_999),
                _ => (no_size >= 80).then_some(whole(employees).max(1)),
            },
            seats: whole(seats).max(1),
            logins: tenths(logins),
            features: whole(features),
            integrations: whole(integrations).max(0),
            // A script that ran away.
            api_calls: i64::from(whole(api_calls)) * if slip == 3 { 300 } else { 1 },
            tickets: whole(tickets),
            idle: (no_login >= 15).then_some(whole(idle)),
            nps: (rated < 380).then_some(whole(mood).clamp(0, 10)),
            arr: f64::from(whole(arr / 10.0)) * 10.0,
            churned,
        }
    }
}

fn whole(v: f32) -> i32 {
    v.round() as i32
}

fn tenths(v: f32) -> f64 {
    f64::from(whole(10.0 * v)) / 10.0
}

/// The draws of one account, in their order.
struct Draw(Rng);

impl Draw {
    fn bell(&mut self) -> f32 {
        bell((self.0.next_u64() >> 32) as u32)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(u128::from(bound)) as u64
    }

    /// A place in a list, as often as its weight says.
    fn one_of(&mut self, weights: impl Iterator<Item = u64> + Clone) -> usize {
        let mut left = self.below(weights.clone().sum());
        let mut weights = weights.enumerate();
        loop {
            match weights.next() {
                Some((at, weight)) if left < weight => return at,
                Some((_, weight)) => left -= weight,
                None => unreachable!("a draw is below the sum of the weights"),
            }
        }
    }
}

impl BatchSource for B2bAccounts {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn n_rows(&self) -> usize {
        self.n_rows
    }

    fn scan(&self, columns: &[usize], consume: &mut Consume<'_>) -> Result<()> {
        (0..self.n_rows).step_by(BATCH_ROWS).try_for_each(|first| {
            let batch = self.batch(first..self.n_rows.min(first + BATCH_ROWS));
            let batch = batch.project(columns).expect("columns of the schema");
            consume(first, &batch)
        })
    }

    fn locate(&self, row: usize) -> (Option<PathBuf>, usize) {
        (None, row)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Float64Type, Int32Type};

    use super::*;

    #[test]
    fn rows_depend_on_seed_and_number_alone() {
        let accounts = B2bAccounts::new(40_000, 0).unwrap();
        let whole = accounts.batch(0..40_000);
        assert_eq!(accounts.batch(20_000..20_100), whole.slice(20_000, 100));
        assert_eq!(B2bAccounts::new(100, 0).unwrap().batch(0..100), whole.slice(0, 100));
        assert_ne!(B2bAccounts::new(100, 1).unwrap().batch(0..100), whole.slice(0, 100));
        assert!(B2bAccounts::new(0, 0).is_err());
    }

    #[test]
    fn groups_are_what_their_names_say() {
        let n = 20_000;
        let accounts = B2bAccounts::new(n, 3).unwrap();
        let batch = accounts.batch(0..n);
        let groups: Vec<usize> = (0..n).map(|row| accounts.group(row)).collect();
        let numbers = |name: &str| batch.column_by_name(name).unwrap().clone();
        let share = |rows: &[usize], f: &dyn Fn(usize) -> bool| {
            rows.iter().filter(|&&r| f(r)).count() as f64 / rows.len() as f64
        };
        let churned = numbers("churned");
        let churned = churned.as_boolean();
        let seats = numbers("seats");
        let seats = seats.as_primitive::<Int32Type>();
        let logins = numbers("logins_per_seat");
        let logins = logins.as_primitive::<Float64Type>();
        for (group, of) in GROUPS.iter().enumerate() {
            let rows: Vec<usize> = (0..n).filter(|&row| groups[row] == group).collect();
            let size = rows.len() as f64 / n as f64;
            assert!((size - of.percent as f64 / 100.0).abs() < 0.01, "{}: {size}", of.name);
            let left = share(&rows, &|row| churned.value(row));
            assert!((left - of.churned as f64 / 100.0).abs() < 0.04, "{}: {left}", of.name);
            let mut own: Vec<f64> = rows.iter().map(|&row| logins.value(row)).collect();
            own.sort_by(f64::total_cmp);
            let median = own[own.len() / 2] / f64::from(of.logins);
            assert!((0.92..1.08).contains(&median), "{}: {median}", of.name);
            assert!(rows.iter().all(|&row| seats.value(row) >= 1));
        }
        assert_eq!(GROUPS.iter().map(|group| group.percent).sum::<u64>(), 100);
        assert_eq!(B2bAccounts::about(6), ("paid for and used no more", 3));
        let employees = numbers("employees");
        let n_slips = employees
            .as_primitive::<Int32Type>()
            .iter()
            .flatten()
            .filter(|&n| n == 999_999)
            .count();
        assert!((10..100).contains(&n_slips), "{n_slips}");
    }

    #[test]
    fn the_kinds_are_found() {
        use crate::backend::cpu::CpuBackend;
        use crate::fit::{FitOptions, fit};
        use crate::metrics::Contingency;
        let n = 3000;
        let accounts = B2bAccounts::new(n, 0).unwrap();
        let mut options = FitOptions::new(6);
        options.features.id = vec!["account_id".into()];
        options.features.outcomes = vec!["arr".into(), "churned".into()];
        options.features.carry = vec!["country".into()];
        let found = fit(&accounts, &CpuBackend::new(2).unwrap(), &options, &()).unwrap();
        let kinds = (0..n).map(|row| B2bAccounts::about(accounts.group(row)).1 as u32);
        let truth: Vec<u32> = kinds.collect();
        let rand = Contingency::new(&truth, 6, &found.assignment.labels, 6).adjusted_rand();
        assert!(rand > 0.95, "{rand}");
        let email = found
            .columns
            .iter()
            .find(|column| column.column == "contact_email")
            .unwrap();
        assert!(format!("{email:?}").contains("personal"), "{email:?}");
    }
}
