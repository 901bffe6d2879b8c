// A CB_Server made of Apache Axis 1.4, which shares no code with the connector that is tested against it: the classes of this
// package beside this one are what its WSDL2Java makes of our definitions.
//
// java cb.CB_ServerSoapImpl DEPLOY USER PASSWORD HEARD: serves, prints its address, and writes what it understood of each call to
// the file HEARD before it answers, a line of JSON a call. It ends with its input. What an account's number begins with says what
// becomes of it, as in cb_server.js.
package cb;

import java.io.FileInputStream;
import java.io.FileWriter;
import java.io.IOException;
import java.io.Writer;
import java.lang.reflect.Array;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.rmi.RemoteException;
import java.util.ArrayList;
import java.util.Calendar;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.apache.axis.AxisFault;
import org.apache.axis.MessageContext;
import org.apache.axis.WSDDEngineConfiguration;
import org.apache.axis.deployment.wsdd.WSDDDocument;
import org.apache.axis.description.ElementDesc;
import org.apache.axis.description.FieldDesc;
import org.apache.axis.description.TypeDesc;
import org.apache.axis.message.SOAPEnvelope;
import org.apache.axis.message.SOAPHeaderElement;
import org.apache.axis.transport.http.SimpleAxisServer;
import org.apache.axis.utils.BeanPropertyDescriptor;
import org.apache.axis.utils.BeanUtils;
import org.apache.axis.utils.XMLUtils;

public class CB_ServerSoapImpl implements CB_Server_PortType {
    private static final String NAMESPACE = "http://www.multispeak.org/Version_3.0";
    private static String user, password, heard;

    public static void main(String[] arguments) throws Exception {
        user = arguments[1];
        password = arguments[2];
        heard = arguments[3];
        SimpleAxisServer server = new SimpleAxisServer();
        server.setServerSocket(new ServerSocket(0, 50, InetAddress.getLoopbackAddress()));
        WSDDEngineConfiguration engine = (WSDDEngineConfiguration) server.getAxisServer().getConfig();
        new WSDDDocument(XMLUtils.newDocument(new FileInputStream(arguments[0]))).deploy(engine.getDeployment());
        server.start(true);
        System.out.println("http://127.0.0.1:" + server.getServerSocket().getLocalPort() + "/axis/services/CB_ServerSoap");
        while (System.in.read() >= 0) {}
        System.exit(0);
    }

    // ---- the operations

    public PaymentTransaction[] commitPaymentTransaction(PaymentTransaction[] transactions) throws RemoteException {
        hear("CommitPaymentTransaction", map("transactions", map("paymentTransaction", plain(transactions))));
        List<PaymentTransaction> taken = new ArrayList<>();
        for (PaymentTransaction transaction : transactions) {
            fail(transaction.getAccountNumber());
            // Backwards: an answer need not keep our order.
            if (!is(transaction.getAccountNumber(), "9204")) taken.add(0, echo(transaction));
        }
        return taken.toArray(new PaymentTransaction[0]);
    }

    public ErrorObject[] modifyCBDataForCustomer(Customer[] customerData) throws RemoteException {
        hear("ModifyCBDataForCustomer", map("customerData", map("customer", plain(customerData))));
        return errors(customerData[0].getObjectID());
    }

    public ErrorObject[] writeAccountHistoryComments(HistoryComment[] comments) throws RemoteException {
        hear("WriteAccountHistoryComments", map("comments", map("historyComment", plain(comments))));
        return errors(comments[0].getCustomerID());
    }

    public PayableItemList getPayableItemsList(String accountNumber) throws RemoteException {
        hear("GetPayableItemsList", map("accountNumber", accountNumber));
        fail(accountNumber);
        return is(accountNumber, "9204") ? null : owed(accountNumber);
    }

    public ErrorObject[] pingURL() throws RemoteException {
        hear("PingURL", null);
        return new ErrorObject[0];
    }

    public String[] getMethods() throws RemoteException {
        hear("GetMethods", null);
        return new String[] {
            "CommitPaymentTransaction", "ModifyCBDataForCustomer", "WriteAccountHistoryComments", "GetPayableItemsList",
            "PingURL", "GetMethods",
        };
    }

    // ---- what it answers

    private static boolean is(String account, String kind) {
        return account.startsWith(kind);
    }

    private static void fail(String account) throws AxisFault {
        if (is(account, "9500")) throw new AxisFault("Server", "fell over", null, null);
        if (is(account, "9400")) throw new AxisFault("Client", "authorizationCode is too long", null, null);
    }

    private static PaymentTransaction echo(PaymentTransaction sent) {
        PaymentTransaction said = new PaymentTransaction();
        said.setAccountNumber(sent.getAccountNumber());
        said.setCreditCardPayment(echo(sent.getAccountNumber(), sent.getCreditCardPayment()));
        said.setECheckPayment(echo(sent.getAccountNumber(), sent.getECheckPayment()));
        said.setAchPayment(echo(sent.getAccountNumber(), sent.getAchPayment()));
        said.setCashPayment(echo(sent.getAccountNumber(), sent.getCashPayment()));
        return said;
    }

    private static Tendered[] echo(String account, Tendered[] sent) {
        if (sent == null) return null;
        Tender tender = new Tender();
        tender.setAmount(sent[0].getTender().getAmount());
        tender.setAuthorizationCode(sent[0].getTender().getAuthorizationCode());
        tender.setResponseCode(ResponseCode.Success);
        if (is(account, "9404")) {
            tender.setResponseCode(ResponseCode.Failure);
            tender.setErrorString("account is closed");
        }
        if (is(account, "9405")) tender.setResponseCode(ResponseCode.Error);
        return new Tendered[] {new Tendered(tender)};
    }

    private static ErrorObject[] errors(String account) throws AxisFault {
        fail(account);
        ErrorObject error = new ErrorObject();
        error.setObjectID(account);
        error.setErrorString(is(account, "9404") ? "account is closed" : "");
        if (is(account, "9404") || is(account, "9405")) return new ErrorObject[] {error};
        return is(account, "9204") ? null : new ErrorObject[0];
    }

    private static PayableItemList owed(String account) {
        PayableItemList list = new PayableItemList();
        PayableItem first = new PayableItem(), second = new PayableItem();
        if (is(account, "9404")) {
            list.setErrorString("account is closed");
            return list;
        }
        if (is(account, "9333")) {
            first.setCurrentAmount(0f);
            list.setPayableItem(new PayableItem[] {first});
            list.setExtensionsList(new ExtensionsItem[] {
                new ExtensionsItem("remainingBalance", "4.93", null), new ExtensionsItem("remainingDays", "1.5", null),
            });
            return list;
        }
        first.setPastDueAmount(12.5f);
        first.setCurrentAmount(84.1f);
        first.setDescription("Electric");
        first.setChargeCode("E");
        first.setDueDate(day(2026, Calendar.DECEMBER, 1));
        first.setLastPaymentAmount(1234.5f);
        first.setLastPaymentDate(day(2026, Calendar.NOVEMBER, 20));
        second.setCurrentAmount(-4f);
        second.setDescription("Deposit");
        list.setPayableItem(new PayableItem[] {first, second});
        list.setExtensionsList(new ExtensionsItem[] {new ExtensionsItem("preventCreditCard", "Y", null)});
        list.setAllowableTransactionTypes(new String[] {"creditCardPayment", "Cash Only"});
        return list;
    }

    private static Calendar day(int year, int month, int day) {
        Calendar calendar = Calendar.getInstance(TimeZone.getTimeZone("America/Chicago"));
        calendar.clear();
        calendar.set(year, month, day);
        return calendar;
    }

    // ---- what it understood

    private static synchronized void hear(String operation, Object body) throws AxisFault {
        SOAPEnvelope envelope = MessageContext.getCurrentContext().getRequestMessage().getSOAPEnvelope();
        SOAPHeaderElement header = envelope.getHeaderByName(NAMESPACE, "MultiSpeakMsgHeader");
        Map<String, Object> fields = new TreeMap<>();
        for (FieldDesc field : MultiSpeakMsgHeader.getTypeDesc().getFields()) {
            String name = field.getXmlName().getLocalPart(), value = header.getAttributeNS("", name);
            if (value != null && !value.isEmpty()) fields.put(name, value);
        }
        Map<String, Object> call = map("operation", operation);
        call.put("header", fields);
        call.put("body", body);
        try (Writer file = new FileWriter(heard, StandardCharsets.UTF_8, true)) {
            file.write(json(call) + "\n");
        } catch (IOException error) {
            throw AxisFault.makeFault(error);
        }
        if (!user.equals(fields.get("UserID")) || !password.equals(fields.get("Pwd"))) {
            throw new AxisFault("Server", "Invalid UserID or Pwd", null, null);
        }
    }

    private static Map<String, Object> map(String name, Object value) {
        Map<String, Object> map = new TreeMap<>();
        map.put(name, value);
        return map;
    }

    // An object of Axis as maps and lists, by the names that its elements and attributes have in XML.
    private static Object plain(Object value) {
        if (value instanceof Calendar) return ((Calendar) value).toInstant().toString();
        if (value != null && value.getClass().isArray()) {
            List<Object> list = new ArrayList<>();
            for (int index = 0; index < Array.getLength(value); index++) list.add(plain(Array.get(value, index)));
            return list;
        }
        TypeDesc type = value == null ? null : TypeDesc.getTypeDescForClass(value.getClass());
        if (type == null) return value;
        Map<String, Object> map = new TreeMap<>(), attributes = new TreeMap<>();
        for (BeanPropertyDescriptor property : BeanUtils.getPd(value.getClass(), type)) {
            FieldDesc field = type.getFieldByName(property.getName());
            Object inner = field == null ? null : get(property, value);
            if (inner == null) continue;
            String name = field.getXmlName().getLocalPart();
            boolean wrapped = field.isElement() && ((ElementDesc) field).getItemQName() != null;
            Object found = wrapped ? map(((ElementDesc) field).getItemQName().getLocalPart(), plain(inner)) : plain(inner);
            (field.isElement() ? map : attributes).put(name, found);
        }
        if (!attributes.isEmpty()) map.put("attributes", attributes);
        return map;
    }

    private static Object get(BeanPropertyDescriptor property, Object owner) {
        try {
            return property.get(owner);
        } catch (ReflectiveOperationException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String json(Object value) {
        if (value instanceof Map) {
            return ((Map<?, ?>) value).entrySet().stream()
                .map(entry -> json(entry.getKey()) + ":" + json(entry.getValue())).collect(Collectors.joining(",", "{", "}"));
        }
        if (value instanceof List) {
            return ((List<?>) value).stream().map(item -> json(item)).collect(Collectors.joining(",", "[", "]"));
        }
        if (!(value instanceof String)) return String.valueOf(value);
        StringBuilder text = new StringBuilder("\"");
        for (char sign : ((String) value).toCharArray()) {
            text.append(sign < ' ' || sign == '"' || sign == '\\' ? String.format("\\u%04x", (int) sign) : sign);
        }
        return text.append('"').toString();
    }
}
