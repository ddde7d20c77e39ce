//! Shops that do not exist: their names, addresses and habits.
//!
//! A company is known by its template and a number, and is the same in every set: the same shop prints the same name,
//! address and layout on all its receipts. Its habits (sizes, wordings, spacing) come from a random stream of its own.
//! Names are put together from syllables; held-out templates use syllables that training never sees.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::language::Language;

/// How many companies print with each template.
pub(super) const COMPANIES_PER_TEMPLATE: u64 = 400;

/// Names the stream that companies come from, so that it is not any receipt's stream.
const COMPANY_SEED: u64 = 0x00f1_0212_c0de;

/// A shop.
#[derive(Clone, Debug)]
pub(super) struct Company {
    pub(super) name: String,
    pub(super) address: Vec<String>,
    pub(super) registration: String,
    pub(super) tax_number: String,
    pub(super) phone: String,
    pub(super) website: String,
    pub(super) language: Language,
    /// Where everything that the company always does alike comes from.
    pub(super) habits: ChaCha8Rng,
}

impl Company {
    /// Company `number` of a template.
    pub(super) fn of_template(template: usize, number: u64, held_out: bool, languages: &[Language]) -> Self {
        let mut habits = ChaCha8Rng::seed_from_u64(COMPANY_SEED);
        habits.set_stream(template as u64 * COMPANIES_PER_TEMPLATE + number % COMPANIES_PER_TEMPLATE);
        let language = *pick(languages, &mut habits);
        let name = company_name(language, held_out, &mut habits);
        let site: String =
            name.chars().flat_map(char::to_lowercase).filter(char::is_ascii_alphabetic).take(14).collect();
        let ending = ["com", "de", "fr", "es", "com.my"][language as usize];
        Self {
            name,
            address: address(language, &mut habits),
            registration: registration(language, &mut habits),
            tax_number: tax_number(language, &mut habits),
            phone: phone(language, &mut habits),
            website: format!("www.{site}.{ending}"),
            language,
            habits,
        }
    }
}

/// One of several.
pub(super) fn pick<'a, T>(choices: &'a [T], random: &mut impl Rng) -> &'a T {
    &choices[random.random_range(0..choices.len())]
}

/// Digits, the first not 0.
pub(super) fn digits(count: u32, random: &mut impl Rng) -> String {
    let lowest = 10_u64.pow(count - 1);
    random.random_range(lowest..lowest * 10).to_string()
}

/// The first syllables of names; the last fifth is for held-out companies.
const BEGINNINGS: [&[&str]; 5] = [
    &[
        "Har", "Whit", "Ald", "Bram", "Thorn", "Lark", "Mill", "Stan", "Ember", "Crow", "Win", "Ash", "Pem", "Kel",
        "Rush", "Wex", "Dun", "Fair", "Oak", "Hazel",
    ],
    &[
        "Linden", "Eber", "Wald", "Stein", "Hoch", "Birken", "Rosen", "Falken", "Sonn", "Mühl", "Grün", "Adler",
        "Kirch", "Neu", "Brunn", "Eichen", "Hirsch", "Silber", "Lauter", "Wolfs",
    ],
    &[
        "Beau", "Mont", "Clair", "Roche", "Val", "Fon", "Bel", "Char", "Lan", "Mar", "Haute", "Du", "Ville", "Cham",
        "Gran", "Per", "Bour", "Saint-Ri", "Auber", "Tour",
    ],
    &[
        "Monte", "Alca", "Bena", "Villa", "Torre", "Cala", "Peña", "Olmo", "Marí", "Sala", "Casta", "Ribe", "Valde",
        "Fuente", "Car", "Huerta", "Alma", "Guada", "Zara", "Soto",
    ],
    &[
        "Seri", "Maju", "Tunas", "Cempaka", "Bina", "Harum", "Jaya", "Melur", "Setia", "Wang", "Rimba", "Intan",
        "Permai", "Suria", "Teratai", "Damai", "Gemilang", "Kencana", "Lestari", "Puncak",
    ],
];

const ENDINGS: [&[&str]; 5] = [
    &["ford", "wick", "bridge", "ley", "combe", "worth", "field", "gate", "ham", "mere", "ton", "by"],
    &["bach", "berg", "feld", "hausen", "mann", "auer", "tal", "brunner", "hofer", "meier", "ecker", "rieder"],
    &["mont", "vert", "lin", "tier", "bois", "court", "reau", "val", "zier", "font", "nay", "velle"],
    &["mar", "rez", "lba", "negra", "do", "ñal", "rrosa", "llar", "verde", "nar", "zuela", "dina"],
    &[
        " Indah", " Bersatu", " Raya", " Sentosa", " Murni", " Abadi", " Mewah", " Utama", " Sejati", " Baru", " Tiga",
        " Bahagia",
    ],
];

const TRADES: [&[&str]; 5] = [
    &[
        "Bakery",
        "Hardware",
        "Pharmacy",
        "Books",
        "Motors",
        "Stationers",
        "Grill",
        "Café",
        "Market",
        "Florist",
        "Garden Centre",
        "Foods",
        "Electrical",
        "Hotel",
        "Services",
        "Supplies",
    ],
    &[
        "Bäckerei",
        "Baumarkt",
        "Apotheke",
        "Buchhandlung",
        "Metzgerei",
        "Gasthaus",
        "Autohaus",
        "Blumen",
        "Hotel",
        "Elektro",
        "Getränke",
        "Feinkost",
        "Drogerie",
        "Café",
    ],
    &[
        "Boulangerie",
        "Quincaillerie",
        "Pharmacie",
        "Librairie",
        "Garage",
        "Fleurs",
        "Brasserie",
        "Épicerie",
        "Hôtel",
        "Cave",
        "Fromagerie",
        "Papeterie",
        "Maison",
    ],
    &[
        "Panadería",
        "Ferretería",
        "Farmacia",
        "Librería",
        "Taller",
        "Floristería",
        "Restaurante",
        "Bodega",
        "Hostal",
        "Papelería",
        "Pescadería",
        "Café",
        "Bazar",
    ],
    &[
        "Kedai Runcit",
        "Restoran",
        "Perniagaan",
        "Syarikat",
        "Pasaraya",
        "Farmasi",
        "Klinik",
        "Bengkel",
        "Kedai Buku",
        "Hotel",
        "Kafe",
        "Gerai",
        "Kedai Roti",
    ],
];

/// A proper name: a family or a place.
pub(super) fn proper_name(language: Language, held_out: bool, random: &mut impl Rng) -> String {
    let all = BEGINNINGS[language as usize];
    let cut = all.len() * 4 / 5;
    let beginnings = if held_out { &all[cut..] } else { &all[..cut] };
    format!("{}{}", pick(beginnings, random), pick(ENDINGS[language as usize], random))
}

/// The name of a company.
pub(super) fn company_name(language: Language, held_out: bool, random: &mut impl Rng) -> String {
    let name = proper_name(language, held_out, random);
    let trade = *pick(TRADES[language as usize], random);
    let form = random.random_range(0..6);
    match language {
        Language::English => match form {
            0 => format!("{name} {trade} Ltd"),
            1 => format!("{name} & Sons"),
            2 => format!("The {name} {trade}"),
            3 => format!("{name}'s {trade}"),
            4 => format!("{name} {trade} Inc."),
            _ => format!("{name} {trade}"),
        },
        Language::German => match form {
            0 => format!("{trade} {name} GmbH"),
            1 => format!("{name} & Söhne OHG"),
            2 => format!("{trade} am {name}platz"),
            3 => format!("{name} {trade} GmbH & Co. KG"),
            _ => format!("{trade} {name}"),
        },
        Language::French => match form {
            0 => format!("SARL {name} Frères"),
            1 => format!("{trade} de {name}"),
            2 => format!("Au Comptoir {name}"),
            3 => format!("{trade} {name} SAS"),
            _ => format!("{trade} {name}"),
        },
        Language::Spanish => match form {
            0 => format!("{trade} {name} S.L."),
            1 => format!("{name} e Hijos S.A."),
            2 => format!("{trade} La {name}"),
            3 => format!("Casa {name}"),
            _ => format!("{trade} {name}"),
        },
        Language::Malay => match form {
            0 => format!("{name} Sdn Bhd"),
            1 => format!("{name} Enterprise"),
            2 => format!("{name} Trading Sdn. Bhd."),
            3 => format!("{name} (M) Sdn Bhd"),
            4 => format!("{trade} {name} Sdn Bhd"),
            _ => format!("{trade} {name}"),
        },
    }
}

/// An address in parts that may stand on lines of their own, in order.
pub(super) fn address(language: Language, random: &mut impl Rng) -> Vec<String> {
    let number = random.random_range(1..240);
    let place = proper_name(language, random.random_bool(0.2), random);
    let street = proper_name(language, random.random_bool(0.2), random);
    match language {
        Language::English => {
            let kind = *pick(&["Street", "Road", "Lane", "Avenue", "High Street", "Square"], random);
            let mut parts = vec![format!("{number} {street} {kind}")];
            if random.random_bool(0.35) {
                let unit = *pick(&["Unit", "Suite", "Floor", "Shop"], random);
                parts.insert(0, format!("{unit} {}", random.random_range(1..30)));
            }
            let code = format!(
                "{}{} {}{}",
                pick(&["HB", "WT", "QX", "NK"], random),
                random.random_range(1..28),
                digits(1, random),
                pick(&["AB", "JQ", "LW", "ZT"], random)
            );
            if random.random_bool(0.5) {
                parts.extend([place, code])
            } else {
                parts.push(format!("{place} {code}"))
            }
            parts
        }
        Language::German => {
            let kind = *pick(&["straße", "weg", "allee", "gasse", "platz"], random);
            vec![format!("{street}{kind} {number}"), format!("{} {place}", digits(5, random))]
        }
        Language::French => {
            let kind = *pick(&["rue de", "avenue de", "place", "boulevard", "chemin de"], random);
            let mut parts = vec![format!("{number} {kind} {street}"), format!("{} {place}", digits(5, random))];
            if random.random_bool(0.25) {
                parts.insert(0, format!("Centre commercial {}", proper_name(language, false, random)));
            }
            parts
        }
        Language::Spanish => {
            let kind = *pick(&["Calle", "Avda.", "Plaza", "C/", "Paseo"], random);
            let mut parts = vec![format!("{kind} {street}, {number}"), format!("{} {place}", digits(5, random))];
            if random.random_bool(0.4) {
                parts.push(format!("({})", proper_name(language, false, random)));
            }
            parts
        }
        Language::Malay => malay_address(number, &street, &place, random),
    }
}

fn malay_address(number: u32, street: &str, place: &str, random: &mut impl Rng) -> Vec<String> {
    let begin = *pick(&["No.", "No", "Lot", "NO:", ""], random);
    let kind = *pick(&["Jalan", "Jln", "Lorong", "Persiaran"], random);
    let section = random.random_range(1..20);
    let first = match random.random_range(0..3) {
        0 => format!("{begin} {number}, {kind} {street}"),
        1 => format!("{begin} {number}-{section}, {kind} {street} {section}"),
        _ => format!("{begin} {number}, {kind} {street} {section}/{}", digits(1, random)),
    };
    let district = format!("{} {place}", pick(&["Taman", "Bandar", "Kampung", "Desa", "Pusat Perdagangan"], random));
    let town = proper_name(Language::Malay, false, random);
    let state = *pick(&["Negeri Timur", "Seri Selatan", "Tanah Rata", "Kuala Emas"], random);
    let mut parts = vec![first.trim().to_string(), district, format!("{} {town}", digits(5, random))];
    if random.random_bool(0.6) {
        parts.push(format!("{state}."));
    }
    parts
}

fn registration(language: Language, random: &mut impl Rng) -> String {
    match language {
        Language::English => digits(8, random),
        Language::German => digits(6, random),
        Language::French => {
            format!("{} {} {} {}", digits(3, random), digits(3, random), digits(3, random), digits(5, random))
        }
        Language::Spanish => format!("B-{}", digits(8, random)),
        Language::Malay => format!("{}-{}", digits(6, random), pick(&["A", "D", "H", "K", "M", "T", "W", "X"], random)),
    }
}

fn tax_number(language: Language, random: &mut impl Rng) -> String {
    match language {
        Language::English => format!("GB {} {} {}", digits(3, random), digits(4, random), digits(2, random)),
        Language::German => format!("DE{}", digits(9, random)),
        Language::French => digits(11, random),
        Language::Spanish => format!("B{}", digits(8, random)),
        Language::Malay => format!("00{}", digits(10, random)),
    }
}

fn phone(language: Language, random: &mut impl Rng) -> String {
    match language {
        Language::English => format!("0{} {}", digits(4, random), digits(6, random)),
        Language::German => format!("0{}/{}", digits(4, random), digits(5, random)),
        Language::French => format!(
            "0{} {} {} {} {}",
            digits(1, random),
            digits(2, random),
            digits(2, random),
            digits(2, random),
            digits(2, random)
        ),
        Language::Spanish => format!("9{} {} {}", digits(2, random), digits(3, random), digits(3, random)),
        Language::Malay => format!("0{}-{}", digits(1, random), digits(7, random)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_company_is_the_same_whenever_it_is_asked_for() {
        let company = |number| Company::of_template(3, number, false, &Language::ALL);
        assert_eq!(company(5).name, company(5).name);
        assert_eq!(company(5).address, company(5).address);
        assert_ne!((company(5).name, company(5).phone), (company(6).name, company(6).phone));
    }

    #[test]
    fn held_out_names_begin_with_syllables_of_their_own() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for language in Language::ALL {
            let names = |held_out, random: &mut ChaCha8Rng| -> Vec<String> {
                (0..300).map(|_| company_name(language, held_out, random)).collect()
            };
            let (training, held_out) = (names(false, &mut random), names(true, &mut random));
            assert!(held_out.iter().all(|name| !training.contains(name)), "{language:?}");
        }
    }
}
