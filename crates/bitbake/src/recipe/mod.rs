//! Recipes as other rooms read them: a view for signatures, and the facts that choosing providers and building graphs needs.

mod info;
mod row;
mod view;

pub use info::{RecipeInfo, in_multiconfig, split_multiconfig, virtual_name};
pub use row::recipe_row;
pub use view::StoreView;
