/// A weak reference for timers, callbacks and registries that outlive the object. It is a class, so that it can be
/// captured before its object exists.
package final class Weak<Object: AnyObject> {
    package weak var object: Object?

    package init(_ object: Object? = nil) { self.object = object }
}
