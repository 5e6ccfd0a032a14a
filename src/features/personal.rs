//! Personal data by its column's name, and by the form of its values: never a feature, never shown.

use super::columns::words;

/// What a column of personal data holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Personal {
    Email,
    Phone,
    Iban,
    Name,
    Address,
    Number,
}

impl Personal {
    /// Why a column is left out.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Email => "is personal data: e-mail addresses",
            Self::Phone => "is personal data: phone numbers",
            Self::Iban => "is personal data: bank accounts",
            Self::Name => "is personal data: names of people",
            Self::Address => "is personal data: postal or network addresses",
            Self::Number => "is personal data: official numbers",
        }
    }

    /// What a column's name says that it holds, if that is personal.
    ///
    /// The last word decides: `phone` and `contact_email` are, `phone_service` and `email_opens` are not.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let words = words(name);
        let (last, before) = words.split_last()?;
        let before = before.last().map_or("", String::as_str);
        Some(match last.as_str() {
            "email" | "emails" => Self::Email,
            "mail" if before == "e" || before.is_empty() => Self::Email,
            "phone" | "telephone" | "cellphone" | "mobile" | "msisdn" | "fax" => Self::Phone,
            "number" | "no" | "nr" if matches!(before, "phone" | "telephone" | "mobile" | "fax") => Self::Phone,
            "iban" => Self::Iban,
            "number" | "no" | "nr" if matches!(before, "ssn" | "passport" | "licence" | "license") => Self::Number,
            "ssn" | "passport" => Self::Number,
            "surname" | "lastname" | "firstname" | "fullname" | "forename" => Self::Name,
            "name" if PEOPLE.contains(&before) => Self::Name,
            "street" | "ip" => Self::Address,
            "address" if !matches!(before, "n" | "count") => Self::Address,
            _ => return None,
        })
    }
}

/// Words before `name` that make it one of a person; alone it is one as well.
const PEOPLE: [&str; 15] = [
    "", "first", "last", "full", "given", "family", "middle", "maiden", "customer", "client", "contact", "user",
    "person", "holder", "member",
];

/// How many values of a column have a personal form; sums of counts, so their order does not show.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Forms {
    emails: u64,
    phones: u64,
    ibans: u64,
    n: u64,
}

impl Forms {
    /// Adds a text that occurs `count` times.
    pub(crate) fn add(&mut self, text: &str, count: u64) {
        self.n += count;
        if !(6..=320).contains(&text.len()) {
            return;
        }
        if is_email(text) {
            self.emails += count;
        } else if is_iban(text) {
            self.ibans += count;
        } else if is_phone(text) {
            self.phones += count;
        }
    }

    /// Adds the texts of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.emails += other.emails;
        self.phones += other.phones;
        self.ibans += other.ibans;
        self.n += other.n;
    }

    /// What the column holds: one e-mail address or bank account is enough; of phone numbers, which other numbers can
    /// look like, it takes a twentieth.
    pub(crate) fn personal(&self) -> Option<Personal> {
        if self.emails > 0 {
            Some(Personal::Email)
        } else if self.ibans > 0 {
            Some(Personal::Iban)
        } else if self.phones > 0 && self.phones >= self.n / 20 {
            Some(Personal::Phone)
        } else {
            None
        }
    }
}

/// Whether a text holds an e-mail address.
fn is_email(text: &str) -> bool {
    let local = |c: char| c.is_alphanumeric() || "._%+-'".contains(c);
    text.match_indices('@').any(|(at, _)| {
        let host = &text[at + 1..];
        let end = host
            .find(|c: char| !c.is_alphanumeric() && c != '.' && c != '-')
            .unwrap_or(host.len());
        let host = host[..end].trim_end_matches('.');
        let tld = host.rsplit_once('.').map_or("", |(_, tld)| tld);
        text[..at].ends_with(local) && tld.chars().count() >= 2 && tld.chars().all(char::is_alphabetic)
    })
}

/// Whether a text is an IBAN by its check digits (ISO 13616).
fn is_iban(text: &str) -> bool {
    let compact: Vec<u8> = text
        .bytes()
        .filter(|b| *b != b' ')
        .map(|b| b.to_ascii_uppercase())
        .collect();
    if !(15..=34).contains(&compact.len()) || !compact.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let (head, rest) = compact.split_at(4);
    if !(head[..2].iter().all(u8::is_ascii_uppercase) && head[2..].iter().all(u8::is_ascii_digit)) {
        return false;
    }
    let remainder = rest.iter().chain(head).fold(0u32, |remainder, &b| match b {
        b'0'..=b'9' => (remainder * 10 + u32::from(b - b'0')) % 97,
        _ => (remainder * 100 + u32::from(b - b'A') + 10) % 97,
    });
    remainder == 1
}

/// Whether a text is a phone number: 9 to 15 digits with the signs that people part them by, or a plus in front.
fn is_phone(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let signs = text.bytes().all(|b| b.is_ascii_digit() || b" +-()/.".contains(&b));
    let parted = text.starts_with('+')
        || text.starts_with("00")
        || (text.bytes().filter(|b| b" -()/".contains(b)).count() >= 2 && text.starts_with(['0', '(']))
        || is_parted_in_threes(text);
    // A number with a fraction, or a point in time, is none.
    signs && parted && (9..=15).contains(&digits) && !text.contains(". ") && text.matches('.').count() != 1
}

/// `555-123-4567`, `555.123.4567`.
fn is_parted_in_threes(text: &str) -> bool {
    let lengths: Vec<usize> = text.split(['-', '.', ' ']).map(str::len).collect();
    matches!(lengths[..], [3, 3, 4] | [1, 3, 3, 4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_personal() {
        for (name, personal) in [
            ("email", Personal::Email),
            ("contactEmail", Personal::Email),
            ("e-mail", Personal::Email),
            ("MOBILE", Personal::Phone),
            ("phone_number", Personal::Phone),
            ("first_name", Personal::Name),
            ("CustomerName", Personal::Name),
            ("name", Personal::Name),
            ("IBAN", Personal::Iban),
            ("home_address", Personal::Address),
            ("ssn", Personal::Number),
        ] {
            assert_eq!(Personal::by_name(name), Some(personal), "{name}");
        }
        for name in [
            "PhoneService",
            "email_opens",
            "contact",
            "plan_name",
            "product_name",
            "mobile_share",
            "n_phones",
            "",
        ] {
            assert_eq!(Personal::by_name(name), None, "{name}");
        }
    }

    fn form(text: &str) -> Option<Personal> {
        let mut forms = Forms::default();
        forms.add(text, 1);
        forms.personal()
    }

    #[test]
    fn forms_of_values() {
        for text in [
            "ann.lee@example.com",
            "write to o'hara@x-y.co.uk please",
            "jürgen@müller.de",
        ] {
            assert_eq!(form(text), Some(Personal::Email), "{text}");
        }
        for text in ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819"] {
            assert_eq!(form(text), Some(Personal::Iban), "{text}");
        }
        for text in [
            "+49 170 1234567",
            "+14155550123",
            "(020) 7946 0958",
            "555-123-4567",
            "0170 / 123 45 67",
        ] {
            assert_eq!(form(text), Some(Personal::Phone), "{text}");
        }
        for text in [
            "a@b",
            "@handle",
            "DE89370400440532013001",
            "2017-01-01",
            "2017-01-01 10:00",
            "1234567890",
            "35-49K",
            "Electronic check",
            "192.168.1.1",
            "12345.678901",
            "tom @ home",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
    }

    #[test]
    fn a_few_odd_numbers_make_no_phone_column() {
        let mut forms = Forms::default();
        forms.add("gold customer", 99);
        forms.add("+49 170 1234567", 1);
        assert_eq!(forms.personal(), None);
        forms.add("some@where.org", 1);
        assert_eq!(forms.personal(), Some(Personal::Email));
    }
}
