//! Values of properties, and how they are shown.

use zfs_ondisk::property::{Kind, Number, format_size};

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A word or a text.
    Text(String),
    /// A size in bytes.
    Bytes(u64),
    /// A size in bytes, 0 for none.
    BytesOrNone(u64),
    /// A size in bytes that is shown without a unit where it is small.
    Size(u64),
    /// A count, 2^64 - 1 for none.
    CountOrNone(u64),
    /// A number that is a name, shown with all digits: a GUID, an object.
    Id(u64),
    /// A ratio in hundredths.
    Ratio(u64),
    /// A share in percent.
    Percent(u64),
    /// A time in seconds since 1970.
    Time(u64),
    /// There is none.
    Absent,
}

impl Value {
    /// A stored number as a value of a property of that kind.
    pub(crate) fn of(kind: Kind, number: u64) -> Self {
        match kind {
            Kind::Index(words) => match words.iter().find(|(_, known)| *known == number) {
                Some((word, _)) => Self::Text((*word).to_owned()),
                None => Self::Id(number),
            },
            Kind::Number(Number::Size { .. }) => Self::Size(number),
            Kind::Number(Number::SizeOrNone) => Self::BytesOrNone(number),
            Kind::Number(Number::SizeNoneOrAuto) if number == u64::MAX => Self::Text("auto".to_owned()),
            Kind::Number(Number::SizeNoneOrAuto) => Self::BytesOrNone(number),
            Kind::Number(Number::CountOrNone) => Self::CountOrNone(number),
            Kind::Number(Number::Count { .. } | Number::UserOrNone) | Kind::Text(_) => Self::Id(number),
        }
    }

    /// The value with all its digits, as `zfs get -p` shows it.
    pub fn exact(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::CountOrNone(u64::MAX) => "none".to_owned(),
            Self::Bytes(number)
            | Self::BytesOrNone(number)
            | Self::Size(number)
            | Self::CountOrNone(number)
            | Self::Id(number)
            | Self::Percent(number)
            | Self::Time(number) => number.to_string(),
            Self::Ratio(hundredths) => format!("{}.{:02}", hundredths / 100, hundredths % 100),
            Self::Absent => "-".to_owned(),
        }
    }

    /// The value for people, as `zfs get` shows it, times in UTC.
    pub fn readable(&self) -> String {
        match self {
            Self::Bytes(size) => format_size(*size),
            Self::BytesOrNone(0) => "none".to_owned(),
            Self::BytesOrNone(size) => format_size(*size),
            Self::Size(number) | Self::CountOrNone(number) if *number != u64::MAX => {
                let text = format_size(*number);
                text.strip_suffix('B').unwrap_or(&text).to_owned()
            }
            Self::Ratio(_) => format!("{}x", self.exact()),
            Self::Percent(_) => format!("{}%", self.exact()),
            Self::Time(seconds) => format_time(*seconds),
            _ => self.exact(),
        }
    }
}

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time as `zfs get creation` shows it: `Sun Nov 22  4:50 2026`, in UTC.
fn format_time(seconds: u64) -> String {
    let days = seconds / 86400;
    let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
    let (year, month, day) = civil(days);
    let weekday = DAYS.get((days % 7) as usize).unwrap_or(&"?");
    let month = MONTHS.get((month - 1) as usize).unwrap_or(&"?");
    format!("{weekday} {month} {day:2} {hours:2}:{minutes:02} {year}")
}

/// Year, month and day of a number of days since 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that a leap day is the last; eras of 400 years from
    // 0000-03-01 on.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_zfs_shows_them() {
        for (seconds, text) in [
            (0, "Thu Jan  1  0:00 1970"),
            (1_795_349_247, "Sun Nov 22 12:07 2026"),
            (951_782_399, "Mon Feb 28 23:59 2000"),
            (951_782_400, "Tue Feb 29  0:00 2000"),
            (4_107_542_400, "Mon Mar  1  0:00 2100"),
        ] {
            assert_eq!(Value::Time(seconds).readable(), text);
        }
        // Whatever a damaged pool says.
        assert!(!Value::Time(u64::MAX).readable().is_empty());
    }

    #[test]
    fn numbers_are_shown_as_zfs_shows_them() {
        assert_eq!(Value::Bytes(0).readable(), "0B");
        assert_eq!(Value::Size(0).readable(), "0");
        assert_eq!(Value::Size(512).readable(), "512");
        assert_eq!(Value::Size(128 << 10).readable(), "128K");
        assert_eq!((Value::BytesOrNone(0).readable(), Value::BytesOrNone(0).exact()), ("none".into(), "0".into()));
        assert_eq!(Value::CountOrNone(u64::MAX).readable(), "none");
        assert_eq!((Value::Ratio(205).readable(), Value::Ratio(205).exact()), ("2.05x".into(), "2.05".into()));
        assert_eq!((Value::Percent(4).readable(), Value::Percent(4).exact()), ("4%".into(), "4".into()));
        assert_eq!(Value::Id(1 << 20).readable(), "1048576");
    }
}
