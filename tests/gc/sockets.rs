//! Our collector beside live owners of temporary roots, and real collectors beside ours.
