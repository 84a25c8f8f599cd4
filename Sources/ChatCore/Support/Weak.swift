/// A reference that does not keep its object alive, for timers, callbacks and registries that outlive it. A class, so that
/// it can be captured before its object exists.
package final class Weak<Object: AnyObject> {
    package weak var object: Object?

    package init(_ object: Object? = nil) { self.object = object }
}
