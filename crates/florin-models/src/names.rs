//! What a file calls a model's parameters: one table of rules a system.
//!
//! A rule maps the beginning of a name to the beginning of another; `#` stands for a number, and what the rule does not say stays as
//! it is. The rule that says most wins; a name without a rule is the same on both sides. Where a file keeps several of our
//! parameters as one (`Wqkv`) or one the other way round (CLIP's `text_projection`), the rule says that too.

use std::fmt;

/// How the beginning of a parameter's name becomes that of a file's tensor.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    own: &'static str,
    file: &'static str,
    part: Part,
    /// What our names begin with before `own`.
    inside: &'static str,
}

/// Which part of a file's tensor a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The rows of this index when the tensor is cut along its first dimension into so many equal parts.
    Rows {
        /// Which of them.
        index: usize,
        /// How many there are.
        of: usize,
    },
    /// All of it, a matrix with rows and columns exchanged.
    Transposed,
}

impl Part {
    /// Which of the parts it is.
    pub(crate) fn index(self) -> usize {
        if let Self::Rows { index, .. } = self { index } else { 0 }
    }

    /// How many parts there are.
    pub(crate) fn count(self) -> usize {
        if let Self::Rows { of, .. } = self { of } else { 1 }
    }
}

/// A rule for a whole tensor. In `file`, `~` at the beginning stands for the prefix that checkpoints with a head put before the encoder's names.
pub const fn rule(own: &'static str, file: &'static str) -> Rule {
    Rule { own, file, part: Part::Whole, inside: "" }
}

impl Rule {
    /// The parameter is one of several equal parts of the file's tensor, one above the other.
    pub const fn rows(self, index: usize, of: usize) -> Self {
        Self { part: Part::Rows { index, of }, ..self }
    }

    /// The file has the matrix the other way round.
    pub const fn transposed(self) -> Self {
        Self { part: Part::Transposed, ..self }
    }

    /// The same rule for the module of that field alone.
    pub fn without(self, field: &str) -> Self {
        let own = self.own.strip_prefix(field).and_then(|rest| rest.strip_prefix('.')).unwrap_or(self.own);
        Self { own, ..self }
    }

    /// The same rule for a module that is inside another, behind a field's name and its dot.
    pub const fn inside(self, inside: &'static str) -> Self {
        Self { inside, ..self }
    }

    /// The same rule for a file that holds this part of the model alone and leaves its prefix out.
    pub fn without_in_file(self, prefix: &str) -> Self {
        Self { file: self.file.strip_prefix(prefix).unwrap_or(self.file), ..self }
    }

    /// The file's name and how many parts of our name the rule covers; `None` if the rule is for other names.
    fn apply(&self, own: &str, prefix: &str) -> Option<(String, usize)> {
        let mut rest = own.strip_prefix(self.inside)?.split('.');
        let mut numbers = Vec::new();
        let mut covered = self.inside.matches('.').count();
        for expected in self.own.split('.') {
            let found = rest.next()?;
            match expected {
                "#" if found.bytes().all(|byte| byte.is_ascii_digit()) => numbers.push(found),
                _ if expected == found => {}
                _ => return None,
            }
            covered += 1;
        }
        let mut numbers = numbers.into_iter();
        let mut name = match self.file.strip_prefix('~') {
            Some(file) => format!("{prefix}{}", filled(file, &mut numbers)),
            None => filled(self.file, &mut numbers),
        };
        for part in rest {
            // A rule for `norm` with an empty file name puts what follows at the top.
            if !name.is_empty() && !name.ends_with('.') {
                name.push('.');
            }
            name.push_str(part);
        }
        Some((name, covered))
    }
}

/// The pattern with its `#` replaced by numbers, in order.
fn filled<'a>(pattern: &str, numbers: &mut impl Iterator<Item = &'a str>) -> String {
    let mut parts = pattern.split('#');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        name.push_str(numbers.next().unwrap_or("#"));
        name.push_str(part);
    }
    name
}

/// The names of one file.
#[derive(Clone)]
pub struct Names {
    rules: Vec<Rule>,
    prefix: &'static str,
    ignored: fn(&str) -> bool,
}

/// Where in a file a parameter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The tensor's name.
    pub name: String,
    /// The part of it that the parameter is.
    pub part: Part,
}

impl Names {
    /// The module's own names, all of them needed and none ignored.
    pub fn own() -> Self {
        Self::new([])
    }

    /// Names by rules.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect(), prefix: "", ignored: |_| false }
    }

    /// With more rules, for a head.
    pub fn and(mut self, rules: impl IntoIterator<Item = Rule>) -> Self {
        self.rules.extend(rules);
        self
    }

    /// What `~` stands for.
    pub fn with_prefix(self, prefix: &'static str) -> Self {
        Self { prefix, ..self }
    }

    /// Tensors of the file that the model does without: stored positions, the heads of another task.
    pub fn ignoring(self, ignored: fn(&str) -> bool) -> Self {
        Self { ignored, ..self }
    }

    /// Where in the file a parameter is.
    pub fn locate(&self, own: &str) -> Located {
        let fitting = self.rules.iter().filter_map(|rule| Some((rule, rule.apply(own, self.prefix)?)));
        // Of rules that cover the same, the later one wins: a head may change what its encoder says.
        match fitting.max_by_key(|(_, (_, covered))| *covered) {
            Some((rule, (name, _))) => Located { name, part: rule.part },
            None => Located { name: own.to_owned(), part: Part::Whole },
        }
    }

    /// Whether the model does without a tensor of the file.
    pub fn ignores(&self, name: &str) -> bool {
        (self.ignored)(name)
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("rules", &self.rules).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_says_most_wins_and_the_rest_of_a_name_stays() {
        let names = Names::new([
            rule("norm", "~layer_norm").inside("tower."),
            rule("encoder", "~"),
            rule("encoder.layers.#.mlp", "~encoder.layer.#"),
            rule("encoder.layers.#.mlp.up", "~encoder.layer.#.intermediate.dense"),
            rule("encoder.layers.#.attention.key", "~encoder.layer.#.qkv").rows(1, 3),
            rule("projection.weight", "projection").transposed(),
        ])
        .with_prefix("bert.");
        let name = |own| names.locate(own).name;
        assert_eq!(name("encoder.layers.11.mlp.up.weight"), "bert.encoder.layer.11.intermediate.dense.weight");
        assert_eq!(name("encoder.layers.3.mlp.down.bias"), "bert.encoder.layer.3.down.bias");
        assert_eq!(name("encoder.norm.bias"), "bert.norm.bias");
        assert_eq!(name("tower.norm.bias"), "bert.layer_norm.bias");
        assert_eq!(name("norm.bias"), "norm.bias", "another norm than the tower's");
        assert_eq!(name("classifier.weight"), "classifier.weight", "without a rule a name stays");
        let (key, rows) = ("bert.encoder.layer.0.qkv.weight".to_owned(), Part::Rows { index: 1, of: 3 });
        assert_eq!(names.locate("encoder.layers.0.attention.key.weight"), Located { name: key, part: rows });
        assert_eq!(names.locate("projection.weight").part, Part::Transposed);
    }
}
