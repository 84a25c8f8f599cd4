import ChatCore
import Logging
import NIOCore
import NIOSSL

/// What precedes HTTP on a connection, as reported by ``PrefaceHandler`` and by the TLS handler.
extension ConnectionHandler {
    /// Whether the connection is from a proxy that may name its client. The connection is open.
    var isFromTrustedProxy: Bool { peer.map { gateway.isTrusted($0) } ?? false }

    /// The proxy's header cannot be read. Nothing can be said, as it is not known who would read it.
    func refuseProxyHeader(_ why: String) {
        guard case .reading = state else { return }
        gateway.refused(.proxyHeader, from: peer)
        gateway.logger.debug(
            "PROXY protocol header refused",
            metadata: ["address": "\(peer.map(\.description) ?? "")", "error": "\(why)"])
        closeBeforeTLS()
    }

    /// Whether a client may begin its TLS handshake. A client whose address has used up its budget may not, because a
    /// handshake is expensive; it is disconnected.
    func mayBeginTLS() -> Bool {
        guard case .reading = state else { return false }
        // NIOSSL looks at this option when the end of the client's data arrives, which may be in the same read as the
        // request.
        try? context?.channel.syncOptions?.setOption(.allowRemoteHalfClosure, value: true)
        guard let address = counted else { return true }
        let accounts = port.routes.accounts
        guard accounts.addresses.take(RequestCost.tlsHandshake, from: address, now: .now) == .zero else {
            accounts.countRefusal()
            gateway.refused(.addressCost, from: peer)
            closeBeforeTLS()
            return false
        }
        return true
    }

    /// The client does not speak TLS, and the port speaks nothing else. An HTTP client is told so.
    func refusePlaintext(isHTTP: Bool) {
        isTLSPending = false
        guard case .reading = state else { return }
        guard isHTTP else {
            gateway.refused(.notTLS, from: peer)
            return closeBeforeTLS()
        }
        refuse(400, WireError(.badField, "this port speaks TLS only: use https:// or wss://"), because: .notTLS)
    }

    /// Closes the connection at once, because nothing can be said in it.
    func closeBeforeTLS() {
        isTLSPending = false
        state = .closing
        clock.closes(now: .now)
        cut()
    }

    /// Counts an error that ended a TLS handshake.
    func tlsFailed(_ error: any Error) {
        guard isTLSPending, case NIOSSLError.handshakeFailed = error else { return }
        isTLSPending = false
        gateway.refused(.tlsHandshake, from: peer)
        gateway.logger.debug(
            "TLS handshake failed",
            metadata: ["address": "\(peer.map(\.description) ?? "")", "error": "\(error)"])
    }
}
