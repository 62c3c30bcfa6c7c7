//! The seam between pure computation and the dataflow: a stage takes one epoch and gives one epoch.

/// A stateful computation over epochs, one instance per worker.
///
/// The dataflow calls [`Stage::apply`] once per epoch, in order, with everything of that epoch which belongs to the
/// worker. State lives in the stage, keyed by facility, so that it can move between workers with its facility.
///
/// ```
/// use operators::Stage;
///
/// /// The sum of everything.
/// #[derive(Default)]
/// struct Total(u64);
///
/// impl Stage for Total {
///     type Input = Vec<u64>;
///     type Output = u64;
///     const NAME: &'static str = "total";
///
///     fn apply(&mut self, input: &Vec<u64>) -> u64 {
///         self.0 += input.iter().sum::<u64>();
///         self.0
///     }
///
///     fn entries(&self) -> usize {
///         1
///     }
/// }
///
/// let mut total = Total::default();
/// assert_eq!([total.apply(&vec![1, 2]), total.apply(&vec![3])], [3, 6]);
/// ```
pub trait Stage: 'static {
    /// Everything of one epoch.
    type Input;
    /// What the epoch changes.
    type Output;
    /// The operator's name in logs and metrics.
    const NAME: &'static str;

    /// Applies one epoch.
    fn apply(&mut self, input: &Self::Input) -> Self::Output;

    /// How many entries the state holds, for the metric `nuanliu_state_entries`.
    fn entries(&self) -> usize;
}
