public import DNS
import Foundation

extension ResolvConf {
  /// /etc/resolv.conf as it stands; without the file, the server that resolv.conf(5) defaults to.
  public static var ofSystem: ResolvConf {
    ResolvConf((try? String(contentsOfFile: "/etc/resolv.conf", encoding: .utf8)) ?? "nameserver 127.0.0.1")
  }
}
