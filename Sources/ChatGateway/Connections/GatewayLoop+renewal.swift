import ChatCore
import ChatWire
import NIOCore

extension GatewayLoop {
    /// Asks the authenticator about a new token of a session, and tells the service the answer: at once where no I/O is
    /// needed. The session may be gone by then, which the service sees.
    func renew(_ session: SessionID, token: String, ref: Ref?) {
        let credentials = Credentials(user: nil, token: token)
        if let answer = authenticator.authenticateAtOnce(credentials) {
            return service.renew(session, answer, ref: ref, on: eventLoop)
        }
        let promise = eventLoop.makePromise(of: Result<Identity, WireError>.self)
        let authenticator = authenticator
        promise.completeWithTask { await authenticator.authenticate(credentials) }
        promise.futureResult.assumeIsolated().whenSuccess { [self] in
            service.renew(session, $0, ref: ref, on: eventLoop)
        }
    }
}
