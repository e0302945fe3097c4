//! The command line as `clap` sees it, for completion scripts. Never here: reading words (`tokens`).

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ValueHint};
use clap_complete::Shell;

use super::help;
use crate::config::words::command::{COMMANDS, PAGES, VERBS};
use crate::spec::settings::form::Form;
use crate::spec::settings::setting_kind::SettingKind;
use crate::spec::settings::table::{Setting, TABLE};

/// The completion script of `rip-server` for a shell.
pub(crate) fn text(shell: Shell) -> String {
    script(shell, &mut command())
}

/// The completion script of a program for a shell.
pub(crate) fn script(shell: Shell, program: &mut clap::Command) -> String {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, program, &name, &mut script);
    let script = String::from_utf8_lossy(&script);
    let verbs: Vec<&str> =
        program.get_subcommands().map(clap::Command::get_name).filter(|verb| *verb != "check").collect();
    // Scripts for bash are mended: where the program's name has a dash, clap_complete names the cases of subcommands
    // otherwise than it looks them up.
    hooked(shell, &name, &verbs, script.replace("rip__subcmd__server", "rip__server"))
}

/// The script with a hook in front, which asks the program itself for instances, hosts and apps, because only a running
/// server knows them. When the program has no answer, the script goes on as before. Behind `verbs` fish offers no
/// files.
fn hooked(shell: Shell, name: &str, verbs: &[&str], script: String) -> String {
    let hook = format!("_{}_next", name.replace('-', "_"));
    match shell {
        Shell::Bash => {
            let words = format!("_{}", name.replace('-', "__"));
            let script = script.replace(&format!("complete -F {words} "), &format!("complete -F {hook} "));
            format!(
                "{hook}() {{\n    local words\n    \
                 words=$(\"$1\" complete {name} -- \"${{COMP_WORDS[@]:1:COMP_CWORD}}\" 2>/dev/null)\n    \
                 if [[ -n \"$words\" ]]; then\n        mapfile -t COMPREPLY <<<\"$words\"\n    \
                 else\n        {words} \"$@\"\n    fi\n}}\n\n{script}"
            )
        }
        Shell::Zsh => script.replacen(
            &format!("\n_{name}() {{\n"),
            &format!(
                "\n_{name}() {{\n    local -a found\n    \
                 found=(${{(f)\"$($words[1] complete {name} -- \"${{(@Q)words[2,CURRENT]}}\" 2>/dev/null)\"}})\n    \
                 if (( $#found )); then\n        compadd -a found\n    \
                 else\n        _{name}_words \"$@\"\n    fi\n}}\n\n_{name}_words() {{\n"
            ),
            1,
        ),
        Shell::Fish => format!(
            "{script}function _{hook}\n    set -l words (commandline -opc) (commandline -ct)\n    \
             $words[1] complete {name} -- $words[2..-1] 2>/dev/null\nend\n\
             complete -c {name} -n '__fish_seen_subcommand_from {}' -f -a '(_{hook})'\n\
             complete -c {name} -l instance -x -a '(_{hook})'\n",
            verbs.join(" ")
        ),
        _ => script,
    }
}

/// The program with its flags and commands; words without dashes can stand in any order, so that they are values of the
/// first argument to `clap`.
pub(crate) fn command() -> clap::Command {
    let app =
        Arg::new("app").value_name("APP").value_hint(ValueHint::AnyPath).num_args(0..).help("the app to run");
    let flags = TABLE.iter().flat_map(|row| row.forms.iter().filter_map(|form| flag(row, *form)));
    let commands =
        COMMANDS.iter().chain(VERBS).chain(PAGES).map(|(name, help)| clap::Command::new(*name).about(*help));
    clap::Command::new("rip-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("serves an app over HTTPS through supervised worker processes")
        .disable_help_subcommand(true)
        .arg(app)
        .args(flags)
        .subcommands(commands)
}

fn flag(row: &Setting, form: Form) -> Option<Arg> {
    match form {
        Form::Word(word, _) => {
            let name = word.strip_prefix("--")?;
            Some(Arg::new(name).long(name).action(ArgAction::SetTrue).help(help::word_meaning(row)))
        }
        Form::Flag(flag) | Form::FlagOr(flag, _) => {
            let name = flag.strip_prefix("--")?;
            let arg = Arg::new(name).long(name).value_name(row.metavar).help(help::meaning(row));
            let arg =
                if let Form::FlagOr(..) = form { arg.num_args(0..=1).require_equals(true) } else { arg };
            let choices = row.kind.choices();
            Some(match row.kind {
                SettingKind::Path => arg.value_hint(ValueHint::AnyPath),
                _ if choices.is_empty() => arg.value_hint(ValueHint::Other),
                _ => arg.value_parser(PossibleValuesParser::new(choices)),
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound_and_knows_every_flag() {
        let command = command();
        command.clone().debug_assert();
        for form in TABLE.iter().flat_map(|row| row.forms) {
            if let Form::Flag(word) | Form::Word(word, _) = form
                && let Some(name) = word.strip_prefix("--")
            {
                assert!(command.get_arguments().any(|arg| arg.get_long() == Some(name)), "{word}");
            }
        }
    }

    #[test]
    fn bash_finds_the_words_of_every_command() {
        let script = text(Shell::Bash);
        for (name, _) in COMMANDS.iter().chain(VERBS).chain(PAGES) {
            let case = format!("rip__server__subcmd__{}", name.replace('-', "__subcmd__"));
            assert!(script.contains(&format!("cmd=\"{case}\"")), "{case}");
            assert!(script.contains(&format!(" {case})\n")), "{case}");
        }
    }

    #[test]
    fn scripts_complete_flags_and_choices() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = text(shell);
            assert!(script.contains("max-queue") && script.contains("process"), "{shell}");
        }
    }
}
