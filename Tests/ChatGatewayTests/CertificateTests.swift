import Foundation
import TestSupport
import Testing

@testable import ChatGateway

/// The files of a certificate, and when they are read again.
struct CertificateTests {
    private func problem(_ certificate: String, _ key: String) -> String {
        do throws(CertificateError) {
            _ = try ServerCertificate(reading: CertificateFiles(certificate: certificate, key: key))
            return "none"
        } catch {
            return error.description
        }
    }

    @Test func whatIsWrongWithAFileIsSaidAndTheFileIsNamed() throws {
        let own = try PrivateCertificate.make()
        try own.makePair("other", name: "other")
        #expect(problem(own.certificate, own.key) == "none")
        let begin = "the TLS certificate cannot be used, file "
        #expect(problem(own.path("none"), own.key) == begin + own.path("none") + ": No such file or directory")
        #expect(problem(own.certificate, own.path("none")) == begin + own.path("none") + ": No such file or directory")
        #expect(problem(own.directory.path, own.key) == begin + own.directory.path + ": Is a directory")
        for text in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"] {
            let file = own.path("garbled")
            try Data(text.utf8).write(to: URL(filePath: file))
            #expect(problem(file, own.key) == begin + file + ": it holds no PEM certificate that can be read")
            #expect(
                problem(own.certificate, file)
                    == begin + file + ": it holds no PEM private key that can be read, or one with a passphrase")
        }
        #expect(problem(own.key, own.key).hasSuffix("it holds no PEM certificate that can be read"))
        #expect(problem(own.certificate, own.certificate).contains("it holds no PEM private key"))
        #expect(
            problem(own.certificate, own.path("other.key")) == begin + own.path("other.key")
                + ": the key does not belong to the first certificate in \(own.certificate)")
        // The chain begins with an authority instead of the node.
        let chain = try ["between.crt", "node.pem"].map { try Data(contentsOf: own.directory.appending(path: $0)) }
        try Data(chain.joined()).write(to: own.directory.appending(path: "turned.pem"))
        #expect(problem(own.path("turned.pem"), own.key).contains("does not belong to the first certificate"))
        try PrivateRedis.run(
            "openssl", ["ec", "-aes128", "-passout", "pass:secret", "-in", own.key, "-out", own.path("locked.key")])
        #expect(problem(own.certificate, own.path("locked.key")).hasSuffix("or one with a passphrase"))
        try Data(repeating: 0x20, count: 1_100_000).write(to: own.directory.appending(path: "long"))
        #expect(problem(own.path("long"), own.key).hasSuffix("it has more than 1048576 bytes"))
    }

    @Test func theTimesOfACertificateAreRead() throws {
        let own = try PrivateCertificate.make(days: 10)
        let certificate = try ServerCertificate(reading: own.files)
        let now = Int64(WallClock.milliseconds / 1_000)
        #expect((now - 600...now).contains(certificate.begins))
        #expect(abs(certificate.expires - now - 10 * 86_400) < 600)
    }

    private func look(_ certificate: Int64, _ key: Int64) -> CertificateWatch.Look {
        let stamps = [certificate, key].map { FileStamp(device: 1, inode: 1, size: 1, changed: $0) }
        return .init(certificate: stamps[0], key: stamps[1])
    }

    @Test func filesAreReadOnceTheyHaveChangedAndStayAsTheyAre() {
        var watch = CertificateWatch(look(1, 1))
        let gone = CertificateWatch.Look(certificate: look(3, 2).certificate, key: nil)
        let steps: [(CertificateWatch.Look, reads: Bool)] = [
            (look(1, 1), false),
            // The certificate was replaced; the key may follow.
            (look(2, 1), false), (look(2, 2), false), (look(2, 2), true), (look(2, 2), false),
            // Somebody goes back and forth.
            (look(3, 2), false), (look(2, 2), false), (look(3, 2), false), (look(3, 2), true),
            // A file that is gone is looked for once.
            (gone, false), (gone, true), (gone, false), (look(3, 2), false), (look(3, 2), true), (look(3, 2), false),
        ]
        for (index, step) in steps.enumerated() {
            let reads = watch.looked(step.0)
            #expect(reads == step.reads, "step \(index)")
        }
    }

    @Test func theEndOfACertificateIsAnnouncedOnceADay() {
        let day: Int64 = 86_400
        let end = 100 * day
        var watch = CertificateWatch(look(1, 1))
        func notice(_ now: Int64, begins: Int64 = 0) -> CertificateWatch.Notice? {
            watch.notice(begins: begins, expires: end, now: now)
        }
        #expect(notice(end - 14 * day) == nil)
        #expect(notice(end - 14 * day + 1) == .expiresSoon(days: 13))
        #expect(notice(end - 13 * day) == nil)
        #expect(notice(end - 13 * day + 1) == .expiresSoon(days: 12))
        #expect(notice(end) == .expired)
        #expect(notice(end + 5) == nil)
        watch.replaced()
        #expect(notice(end + 5) == .expired, "of the next certificate it is said at once")
        #expect(notice(end + day + 5) == .expired)
        watch.replaced()
        #expect(notice(50 * day, begins: 51 * day) == .notValidYet)
        #expect(notice(40 * day, begins: 51 * day) == .notValidYet, "a clock that went back does not silence it")
    }

    @Test func aFileThatIsReplacedOrWrittenAnewHasAnotherStamp() throws {
        let own = try PrivateCertificate.make()
        let first = try #require(FileStamp(own.key))
        #expect(FileStamp(own.key) == first && FileStamp(own.path("none")) == nil)
        try own.renew(name: "second")
        #expect(FileStamp(own.key) != first)
        try FileManager.default.createSymbolicLink(atPath: own.path("link"), withDestinationPath: own.key)
        let link = FileStamp(own.path("link"))
        #expect(link == FileStamp(own.key))
        try own.renew(name: "third")
        #expect(FileStamp(own.path("link")) != link)
    }
}
