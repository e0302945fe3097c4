//! Owns reading the variables of an environment, and the directives of a php.ini, from TOML values.
//!
//! Never here: the tables that they stand in (`setting_kind`).

use toml::de::DeValue;

use super::setting_value::Wrong;

/// Reads a variable of a worker's environment.
pub(super) fn variable(name: &str, value: &DeValue<'_>) -> Result<(String, String), Wrong> {
    let Some(text) = value.as_str() else {
        return Err(Wrong(format!("{name} as a text: put its value in quotes")));
    };
    if name.is_empty() || name.contains(['=', '\0']) || text.contains('\0') {
        return Err(Wrong(format!("a variable's name without `=`, and no zero byte, at {name:?}")));
    }
    if name.starts_with("RIP_") || name.starts_with("LISTEN_") || name == "NOTIFY_SOCKET" {
        return Err(Wrong(format!("other names: {name} is set by rip-server itself")));
    }
    Ok((name.into(), text.into()))
}

/// Reads a directive of php.ini(5); its value may be an expression of that file's.
pub(super) fn directive(name: &str, value: &DeValue<'_>) -> Result<(String, String), Wrong> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        DeValue::Boolean(on) => u8::from(*on).to_string(),
        _ => return Err(Wrong(format!("{name} as a text, a number, true or false"))),
    };
    let named = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if name.is_empty() || !named || text.contains(['\0', '\n', '\r']) {
        return Err(Wrong(format!("a name of a-z A-Z 0-9 . _ -, and a value of one line, at {name:?}")));
    }
    Ok((name.into(), text))
}
