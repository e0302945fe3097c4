//! Owns the table of verbs: a row for each, and a file with its words, its help and what it does. The table of SPEC
//! §13 is made from them; a verb with verbs of its own has an enum of them in its file.
//!
//! Never here: the flags that go with every verb (`args`), or finding the server (`session`).

use clap::Subcommand;

use super::error::{CtlError, Exit};
use super::session::Caller;

mod add;
mod certs;
mod check;
mod completions;
mod deploy;
mod drain;
mod list;
mod logs;
mod man;
mod metrics;
mod passwd;
mod remove;
mod run;
mod scale;
mod state;
mod status;
mod stop;
mod version;
mod workers;

macro_rules! verbs {
    ($($verb:ident($words:path);)+) => {
        /// The verb.
        #[derive(Debug, Subcommand)]
        pub(super) enum Verb {
            $($verb($words),)+
        }

        impl Verb {
            /// Does the verb.
            ///
            /// # Errors
            /// The error that the person reads in place of a result.
            pub(super) fn run(self, caller: Caller<'_>) -> Result<Exit, CtlError> {
                match self {
                    $(Self::$verb(words) => words.run(caller),)+
                }
            }
        }
    };
}

verbs! {
    List(list::ListVerb);
    Add(add::AddVerb);
    Remove(remove::RemoveVerb);
    Pause(state::PauseVerb);
    Resume(state::ResumeVerb);
    Maintenance(state::MaintenanceVerb);
    Status(status::StatusVerb);
    Workers(workers::WorkersVerb);
    Deploy(deploy::DeployVerb);
    Promote(deploy::PromoteVerb);
    Abort(deploy::AbortVerb);
    Rollback(deploy::RollbackVerb);
    Run(run::RunVerb);
    Scale(scale::ScaleVerb);
    Drain(drain::DrainVerb);
    Undrain(drain::UndrainVerb);
    Logs(logs::LogsVerb);
    Certs(certs::CertsVerb);
    Stop(stop::StopVerb);
    Metrics(metrics::MetricsVerb);
    Passwd(passwd::PasswdVerb);
    Check(check::CheckVerb);
    Completions(completions::CompletionsVerb);
    Man(man::ManVerb);
    Version(version::VersionVerb);
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command, CommandFactory};

    use crate::ctl::args::CtlArgs;
    use crate::generated;

    #[test]
    fn packaging_the_table_of_the_spec_is_this_one() {
        let program = CtlArgs::command();
        let mut table = "| verb | does |\n|---|---|\n".to_owned();
        program.get_subcommands().for_each(|verb| add_rows(&mut table, "", verb));
        generated::assert_up_to_date("SPEC.md", "verbs", &table);
    }

    /// Adds the row of a verb, or those of its own verbs.
    fn add_rows(table: &mut String, before: &str, verb: &Command) {
        let name = format!("{before}{}", verb.get_name());
        if verb.has_subcommands() {
            verb.get_subcommands().for_each(|sub| add_rows(table, &format!("{name} "), sub));
            return;
        }
        let words: String = verb.get_arguments().filter(|arg| !arg.is_global_set()).map(word).collect();
        let about = verb.get_long_about().or(verb.get_about()).unwrap().to_string();
        let does = about.split("\n\n").collect::<Vec<_>>().join(". ").replace('\n', " ");
        *table += &format!("| `{name}{words}` | {} |\n", does.replace('|', "\\|"));
    }

    /// A word or a flag as it is written behind its verb.
    fn word(arg: &Arg) -> String {
        let value = arg.get_value_names().and_then(<[_]>::first).map(ToString::to_string);
        let value = value.unwrap_or_else(|| arg.get_id().as_str().to_uppercase());
        let flag = match (arg.get_short(), arg.get_long()) {
            (Some(short), _) => format!("-{short}"),
            (None, Some(long)) => format!("--{long}"),
            (None, None) if arg.is_required_set() => return format!(" {value}"),
            (None, None) if arg.is_trailing_var_arg_set() => return format!(" [{value}…]"),
            (None, None) => return format!(" [{value}]"),
        };
        if arg.get_action().takes_values() { format!(" [{flag} {value}]") } else { format!(" [{flag}]") }
    }
}
