import PacketCrypto
import Testing

struct HalfSipHashTests {
  /// The authors' vector of three bytes: the key 00 01 … 07, the message 00 01 02, the result 8a fe e7 04.
  @Test func vector() {
    let hash = HalfSipHash(key: 0x0706_0504_0302_0100)
    #expect(hash(0x02_0100) == 0x04e7_fe8a)
    // What is above three bytes does not count.
    #expect(hash(0xff02_0100) == hash(0x02_0100))
    #expect(HalfSipHash(key: 0x0706_0504_0302_0101)(0x02_0100) != hash(0x02_0100))
  }
}
