import ChatJSON
import ChatWire
import Testing

struct PercentEncodingTests {
    @Test func textIsDecodedStrictly() {
        #expect(PercentEncoding.decode("caf%C3%A9%2fx+y") == "café/x+y")
        #expect(PercentEncoding.decode("a+b", isQuery: true) == "a b")
        for wrong in ["%", "%4", "%zz", "%FF", "%C3"] { #expect(PercentEncoding.decode(wrong) == nil) }
    }

    @Test func whatIsEncodedReadsBack() {
        let text = "a b/ü+%{}😀~-._"
        #expect(percentEncoded(text) == "a%20b%2F%C3%BC%2B%25%7B%7D%F0%9F%98%80~-._")
        #expect(PercentEncoding.decode(percentEncoded(text)) == text)
    }

    @Test func theFirstOfTwoFieldsCounts() {
        #expect(
            PercentEncoding.query("user=ana&user=bob&flag&x=1=2&&y=") == [
                "user": "ana", "flag": "", "x": "1=2", "y": "",
            ])
        #expect(PercentEncoding.query("a=%") == nil)
    }
}
