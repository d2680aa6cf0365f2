//! Recipes as other rooms read them.

mod view;

pub use view::StoreView;
