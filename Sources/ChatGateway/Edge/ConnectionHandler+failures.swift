import ChatCore

/// The limit of refused handshakes and authentications of one address.
extension ConnectionHandler {
    /// Whether the handshake may go on. If too many handshakes of the client's address were refused of late, it is
    /// refused without a look at who the client is.
    func mayAuthenticate() -> Bool {
        guard let address = failingAddress else { return true }
        let wait = gateway.shared.addresses.penalty(of: address, now: .now)
        guard wait > .zero else { return true }
        refuse(
            429, AddressBook.tooManyFailures, [("Retry-After", "\(max(1, wait.components.seconds + 1))")],
            because: .addressFailures)
        return false
    }

    /// Counts a refusal against the client's address if it is the refusal of a handshake.
    func countFailure(_ reason: GatewayCounters.Refusal) {
        switch reason {
        case .noHandshake, .origin, .subprotocol, .badName, .unauthenticated, .forbidden:
            if let failingAddress { gateway.shared.addresses.failed(failingAddress, now: .now) }
        case .expired, .revoked, .banned:
            // The token is genuine: its bearer did not guess it.
            break
        case .badRequest, .headTooLarge, .bodyTooLarge, .timeout, .nodeFull, .tooManySessions, .handshakeRate,
            .addressConnections, .addressCost, .addressFailures, .notTLS, .tlsHandshake, .proxyHeader, .draining,
            .internalError:
            break
        }
    }

    /// The address that failures count against; nil for a proxy that names no client, because its address stands for
    /// many.
    var failingAddress: PeerAddress? {
        guard let address = asker ?? peer, !gateway.isTrusted(address) else { return nil }
        return address.network
    }
}
