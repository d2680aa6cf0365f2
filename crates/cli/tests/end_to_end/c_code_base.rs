//! c_code_base
