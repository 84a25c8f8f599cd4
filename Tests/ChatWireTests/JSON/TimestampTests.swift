import ChatJSON
import Testing

struct TimestampTests {
    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00.000Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_226_645_678, "2026-11-21T02:04:05.678Z"), (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"), (Timestamp.maximum, "9999-12-31T23:59:59.999Z"),
        ] as [(UInt64, String)])
    func timesAreRFC3339(milliseconds: UInt64, text: String) {
        #expect(Timestamp.text(milliseconds) == text)
        #expect(Timestamp.milliseconds(text) == milliseconds)
    }

    @Test func laterThanFourDigitsIsTheLastTime() {
        #expect(Timestamp.text(.max) == "9999-12-31T23:59:59.999Z")
    }

    @Test func everyDayReadsBack() {
        for day in stride(from: UInt64(0), to: 2_932_896, by: 97) {
            #expect(Timestamp.milliseconds(Timestamp.text(day * 86_400_000 + 1)) == day * 86_400_000 + 1)
        }
    }

    @Test(arguments: [
        "", "2026-11-21", "2026-02-30T00:00:00.000Z", "2026-11-21T24:00:00.000Z", "2026-11-21T00:00:00.000+",
        "2026-13-21T00:00:00.000Z", "1969-12-31T23:59:59.999Z", "2026-11-21 00:00:00.000Z",
    ])
    func otherFormsAreNotTimes(text: String) {
        #expect(Timestamp.milliseconds(text) == nil)
    }
}
